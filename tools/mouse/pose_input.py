"""The track of a whole recording as a model's pose input, made as training makes it of a trial.

T frames of the recording, n of a stretch of it, K points.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tarpon.models.temporal.pose import PoseFeatures
from tarpon.pipelines.clip.gaps import fill_gaps
from tarpon.pipelines.clip.stance import usual_distances
from tarpon.shards.sources.mouse.pose_points import body_length
from tarpon.train.tasks.mouse.options import MouseOptions


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """What poses of a recording are made of."""

    place: np.ndarray  # (T, K, 2) pixels, anything where not seen
    seen: np.ndarray  # (T, K) bool, also of points in gaps that are filled
    likelihood: np.ndarray  # (T, K) float32, 0 where not labelled
    body: float  # body length in pixels; NaN: not known
    usual: np.ndarray | None  # (T, K, K) usual distances in pixels; None: the model does not ask for them


def measure_track(xyl: np.ndarray, options: MouseOptions, *, trial_frames: int) -> Track:
    """Measure a track (T, K, 3) of x, y, likelihood. trial_frames: of the trials that it is cut into; 0: it is one trial."""
    least, step = options.window.kp_likelihood, trial_frames or max(len(xyl), 1)
    trials = [xyl[first : first + step] for first in range(0, max(len(xyl), 1), step)]
    filled = np.concatenate([fill_gaps(trial, frames=options.window.fill_gaps, likelihood=least) for trial in trials])
    usual = None
    if frames := options.model.stance_frames:
        usual = np.concatenate([usual_distances(trial, frames=frames, likelihood=least) for trial in trials])
    labelled = np.isfinite(filled[..., :2]).all(-1)
    return Track(
        place=filled[..., :2],
        seen=labelled & (filled[..., 2] >= least),
        likelihood=np.where(labelled, filled[..., 2], 0),
        body=body_length(xyl),
        usual=usual,
    )


def make_pose(track: Track | None, first: int, count: int, features: PoseFeatures) -> Tensor:
    """(1, n, K, `pose_width`): the pose of `count` frames from `first` on, as `PoseFeatures` takes it.

    Invisible without a track or a body length, and beyond the track's end.
    """
    points = len(features.graph.points)
    pose = np.zeros((count, points, features.pose_width), np.float32)
    if track is None:
        return torch.from_numpy(pose)[None]
    part = slice(first, first + count)
    seen = track.seen[part]
    if features.likelihood:
        pose[: len(seen), :, -1] = track.likelihood[part]
    if np.isfinite(track.body) and track.body > 0:
        pose[: len(seen), :, :2] = np.where(seen[..., None], track.place[part] / track.body, 0)
        pose[: len(seen), :, 2] = seen
        if track.usual is not None:
            pose[: len(seen), :, 3 : 3 + points] = track.usual[part] / track.body
    return torch.from_numpy(pose)[None]
