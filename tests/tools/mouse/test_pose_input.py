"""The pose input of a whole recording: as training makes it of a trial."""

from dataclasses import replace

import numpy as np
import pytest

from tarpon.models.temporal.pose import PoseFeatures, PoseGraph
from tarpon.pipelines.clip.stance import usual_distances
from tarpon.shards.npy import read_npy
from tarpon.shards.reader import Reader
from tarpon.tools.mouse.pose_input import make_pose, measure_track
from tarpon.train.tasks.mouse.options import ModelOptions, MouseOptions, WindowOptions

POINTS = ("mouth", "tail_base", "L_frontpaw", "R_frontpaw", "L_hindpaw", "R_hindpaw")


def make_options(*, stance: int = 0, likelihood: bool = False, gaps: int = 0) -> MouseOptions:
    model = ModelOptions(stance_frames=stance, likelihood_input=likelihood)
    return MouseOptions(model=model, window=WindowOptions(fill_gaps=gaps))


def features_of(options: MouseOptions, points: tuple[str, ...] = POINTS) -> PoseFeatures:
    model = options.model
    return PoseFeatures(PoseGraph.from_points(points), stance=model.stance_frames > 0, likelihood=model.likelihood_input)


@pytest.mark.parametrize("gaps", [0, 8])
@pytest.mark.parametrize("likelihood", [False, True])
@pytest.mark.parametrize("stance", [0, 60])
def test_it_is_that_of_training(mouse_shards, stance, likelihood, gaps):
    """A stored trial as a recording, against the clip that the loader's feed makes of it."""
    from tarpon.pipelines.clip.feed import ClipFields, ClipRequest
    from tarpon.pipelines.feed import StoredRow

    options, reader = make_options(stance=stance, likelihood=likelihood, gaps=gaps), Reader(mouse_shards)
    frames = int(mouse_shards.value(0, "frames"))
    ways = {"stance_frames": stance, "with_likelihood": likelihood, "fill_gaps": gaps}
    colours = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    fields = ClipFields(frames=frames, size=8, likelihood=0.9, merge=tuple(range(8)), swap=tuple(range(6)), **colours, **ways)
    stored = StoredRow(mouse_shards, reader, 0)
    wanted = fields.arrays(stored, ClipRequest(row=0, start=0))["pose"]
    xyl = read_npy(stored.read("keypoints"))
    assert (xyl[..., 2] < 0.9).any()
    track = replace(measure_track(xyl, options, trial_frames=0), body=float(stored.value("body_length")))
    np.testing.assert_allclose(make_pose(track, 0, frames, features_of(options))[0], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stance", [0, 60])
def test_the_likelihood_is_the_last_number_of_each_point(stance):
    options = make_options(stance=stance, likelihood=True)
    xyl = np.random.default_rng(0).random((20, 6, 3)).astype(np.float32)
    xyl[3, 2] = np.nan, np.nan, 0
    track, features = replace(measure_track(xyl, options, trial_frames=0), body=2.0), features_of(options)
    made = make_pose(track, 4, 20, features)[0].numpy()
    assert made.shape == (20, 6, 4 + 6 * bool(stance))
    np.testing.assert_array_equal(made[:16, :, -1], xyl[4:, :, 2])
    assert not made[16:].any()  # past the last row
    if stance:
        np.testing.assert_allclose(made[:16, :, 3:-1], track.usual[4:] / 2)
    assert not make_pose(None, 0, 20, features).any()


def test_trials_that_are_told_are_measured_each_by_itself():
    """Their stance, and no gap is filled from the end of one to the beginning of the next."""
    xyl = np.random.default_rng(0).random((150, 3, 3)).astype(np.float32)
    xyl[..., 2] = 1
    xyl[58:63, 1, 2] = 0
    whole, cut = (measure_track(xyl, make_options(stance=60, gaps=5), trial_frames=frames) for frames in (0, 60))
    for first in (0, 60, 120):  # the last trial is cut short
        trial = xyl[first : first + 60]
        np.testing.assert_array_equal(cut.usual[first : first + 60], usual_distances(trial, frames=60, likelihood=0.9))
    np.testing.assert_array_equal(whole.usual, usual_distances(xyl, frames=60, likelihood=0.9))
    assert whole.seen.all()
    assert np.flatnonzero(~cut.seen[:, 1]).tolist() == [58, 59, 60, 61, 62]
    assert measure_track(xyl, MouseOptions(), trial_frames=60).usual is None
