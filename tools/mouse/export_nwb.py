"""`<stem>.nwb`: bouts, probabilities and points in Neurodata Without Borders, by pynwb and ndx-pose (the extra `nwb`)."""

import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tarpon.shards import atomic
from tarpon.tools.mouse.labelled import Labelled
from tarpon.train.tasks.mouse.metrics.segments import find_runs

UNKNOWN_ZERO = "pixel (0, 0) is the upper left corner of the picture as displayed"


def write(labelled: Labelled, out: Path) -> Path:
    """Write the file; returns its path.

    The processing module `behavior` holds the intervals `bouts` (start_time, stop_time, label; seconds of the video), the
    series `probabilities` (T, C) and, where there are points, a PoseEstimation: those the model regressed, else those given.
    When the session began is not known: the time stands for the last change of the video file, and the description says so.
    """
    from pynwb import NWBHDF5IO, NWBFile, TimeSeries
    from pynwb.epoch import TimeIntervals

    name = labelled.path.name
    changed = datetime.fromtimestamp(labelled.path.stat().st_mtime, tz=UTC)
    file = NWBFile(
        session_description=f"Actions predicted for {name} by Tarpon. session_start_time is when the video file last changed.",
        identifier=f"tarpon-{labelled.path.stem}",
        session_start_time=changed,
    )
    module = file.create_processing_module(name="behavior", description="predicted by Tarpon")
    bouts = TimeIntervals(name="bouts", description="maximal runs of one predicted action, one after the other without a gap")
    bouts.add_column(name="label", description="the action")
    for start, stop, action in zip(*(part.tolist() for part in find_runs(labelled.actions)), strict=True):
        times = {"start_time": float(start / labelled.fps), "stop_time": float(stop / labelled.fps)}
        bouts.add_row(**times, label=labelled.classes[action])
    module.add(bouts)
    module.add(
        TimeSeries(
            name="probabilities",
            data=np.asarray(labelled.probs, np.float32),
            unit="1",
            rate=float(labelled.fps),
            starting_time=0.0,
            description=f"of each class in a frame; columns: {', '.join(labelled.classes)}",
        )
    )
    for made in _pose(labelled):
        module.add(made)
    path = out / f"{labelled.path.stem}.nwb"
    with atomic.replace(path) as draft, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not end in '.nwb'")  # the draft's name, which is renamed
        with NWBHDF5IO(str(draft), "w") as io:
            io.write(file)
    return path


def _pose(labelled: Labelled) -> list:
    """The skeleton and the points, or nothing."""
    from ndx_pose import PoseEstimation, PoseEstimationSeries, Skeleton, Skeletons

    own = labelled.predicted is not None
    points = labelled.predicted if own else labelled.given
    if points is None:
        return []
    told = "regressed by the model, which tells no confidence" if own else "read from the pose file of the video"
    sure = np.full(points.shape[:2], np.nan, np.float32) if own else points[..., 2]
    series = [
        PoseEstimationSeries(
            name=name,
            description=told,
            data=np.asarray(points[:, at, :2], np.float32),
            unit="pixels",
            reference_frame=UNKNOWN_ZERO,
            rate=float(labelled.fps),
            starting_time=0.0,
            confidence=np.asarray(sure[:, at], np.float32),
            confidence_definition="not told" if own else "likelihood of the pose file",
        )
        for at, name in enumerate(labelled.points)
    ]
    skeleton = Skeleton(name="points", nodes=list(labelled.points), edges=np.zeros((0, 2), np.uint8))
    pose = PoseEstimation(
        name="PoseEstimation",
        pose_estimation_series=series,
        description=told,
        scorer="tarpon" if own else "pose file",
        source_software="Tarpon" if own else "the pose file's own",
        skeleton=skeleton,
    )
    return [Skeletons(skeletons=[skeleton]), pose]
