"""All that the scores of a split are made of, but for the ranking of its frames: counted by trial, added up over processes.

Whole numbers are summed where they are counted. Real numbers stay apart, one a trial and in the order of the split, so that
their sums round alike whatever process counted which trials. C classes, n trials, m trials with keypoints, K keypoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tarpon.train.tasks.mouse.metrics.keypoints import COLUMNS, keypoint_counts
from tarpon.train.tasks.mouse.metrics.segments import bout_counts, edit_score, onset_errors, segment_counts
from tarpon.train.tasks.mouse.metrics.trial import Trial, check_unique, count_confusion

IOU_PERCENT = (10, 25, 30, 50)  # 30 is what the published system reports, the others the field


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialCounts:
    """Counts of some trials, in their order."""

    keys: list[str]  # n
    confusion: dict[str, np.ndarray]  # group -> (C, C) int64 frames
    segments: np.ndarray  # (4, 3, C) int64 bouts found, invented and missed at each of IOU_PERCENT
    edit: np.ndarray  # (2, n) edit scores, of all classes and without rest; NaN where undefined
    bouts: np.ndarray  # (2, C) int64 true and predicted bouts
    onsets: np.ndarray  # (2, C) int64 frames by which onsets are off, and how many onsets
    point_groups: list[str]  # m
    points: list[np.ndarray]  # m times (K, 5) of `keypoint_counts`


def count_trials(trials: Sequence[Trial], *, num_classes: int, rest: int | None) -> TrialCounts:
    """Counts of trials; of none they are 0.

    Args:
        rest: class left out of the second edit score; None: it is the first again.
    """
    confusion: dict[str, np.ndarray] = {}
    for trial in trials:
        own = confusion.setdefault(trial.group, np.zeros((num_classes, num_classes), np.int64))
        own += count_confusion([trial], num_classes)
    seen = [(trial.group, counts) for trial in trials if (counts := keypoint_counts(trial)) is not None]
    return TrialCounts(
        keys=[trial.key for trial in trials],
        confusion=confusion,
        segments=count_segments(trials, num_classes=num_classes),
        edit=measure_edits(trials, rest=rest),
        bouts=sum(
            (bout_counts(trial.actions, trial.predicted, num_classes=num_classes) for trial in trials),
            np.zeros((2, num_classes), np.int64),
        ),
        onsets=_count_onsets(trials, num_classes=num_classes),
        point_groups=[group for group, _ in seen],
        points=[counts for _, counts in seen],
    )


def add_counts(parts: Sequence[TrialCounts]) -> TrialCounts:
    """Counts of all the parts' trials. ValueError where a trial is in two."""
    confusion: dict[str, np.ndarray] = {}
    for part in parts:
        for group, counts in part.confusion.items():
            confusion[group] = confusion.get(group, 0) + counts
    keys = [key for part in parts for key in part.keys]
    check_unique(keys)
    return TrialCounts(
        keys=keys,
        confusion=confusion,
        segments=sum(part.segments for part in parts),
        edit=np.concatenate([part.edit for part in parts], axis=1),
        bouts=sum(part.bouts for part in parts),
        onsets=sum(part.onsets for part in parts),
        point_groups=[group for part in parts for group in part.point_groups],
        points=[counts for part in parts for counts in part.points],
    )


def sum_groups(counts: TrialCounts) -> tuple[np.ndarray, np.ndarray]:
    """(G, C, C) int64 confusion and (G, 5) sums of `keypoint_counts` of every group, in order of their names."""
    names = sorted(counts.confusion)
    place = {name: g for g, name in enumerate(names)}
    points = np.zeros((len(names), COLUMNS))
    for group, own in zip(counts.point_groups, counts.points, strict=True):
        points[place[group]] += own.sum(0)
    return np.stack([counts.confusion[name] for name in names]), points


def count_segments(trials: Sequence[Trial], *, num_classes: int) -> np.ndarray:
    """(4, 3, C) int64 bouts found, invented and missed, at each of IOU_PERCENT."""
    total = np.zeros((len(IOU_PERCENT), 3, num_classes), np.int64)
    for trial in trials:
        for own, percent in zip(total, IOU_PERCENT, strict=True):
            own += segment_counts(trial.actions, trial.predicted, iou=percent / 100, num_classes=num_classes)
    return total


def measure_edits(trials: Sequence[Trial], *, rest: int | None) -> np.ndarray:
    """(2, n) edit score of every trial, of all classes and without `rest`."""
    without = () if rest is None else (rest,)
    return np.array(
        [[edit_score(trial.actions, trial.predicted, ignore=ignore) for trial in trials] for ignore in ((), without)],
        np.float64,
    )


def _count_onsets(trials: Sequence[Trial], *, num_classes: int) -> np.ndarray:
    total = np.zeros((2, num_classes), np.int64)
    for trial in trials:
        frames, label = onset_errors(trial.actions, trial.predicted)
        np.add.at(total[0], label, np.abs(frames))
        total[1] += np.bincount(label, minlength=num_classes)
    return total
