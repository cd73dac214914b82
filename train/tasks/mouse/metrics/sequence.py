"""All scores of labelled sequences with keypoints, as one flat map ready for JSON and TensorBoard.

C classes, G groups, K keypoints.
"""

import math
from collections.abc import Sequence

import numpy as np

from tarpon.train.metrics.bootstrap import bootstrap_interval
from tarpon.train.metrics.confusion import class_f1, frame_scores, macro_f1, ratio
from tarpon.train.metrics.names import score_keys
from tarpon.train.tasks.mouse.metrics.counts import (
    IOU_PERCENT,
    TrialCounts,
    count_segments,
    count_trials,
    measure_edits,
    sum_groups,
)
from tarpon.train.tasks.mouse.metrics.keypoints import keypoint_counts, keypoint_mae, keypoint_scores
from tarpon.train.tasks.mouse.metrics.ranking import FrameAnswers, ranking_scores
from tarpon.train.tasks.mouse.metrics.segments import segment_f1
from tarpon.train.tasks.mouse.metrics.trial import Trial, check_trials, count_confusion


def score(
    trials: Sequence[Trial], *, classes: Sequence[str], points: Sequence[str] = (), rest: int | None = 0, seed: int = 0
) -> dict[str, float]:
    """Score a split. Undefined scores (a class without frames, no keypoints, one group) are left out, never NaN.

    Keys: trials, frames (labelled), accuracy, balanced_accuracy, macro_f1 (_low, _high: 95% over groups),
    majority_macro_f1, average_precision; average_precision_, f1_, precision_, recall_, support_, bouts_true_, bouts_pred_ and
    onset_error_frames_<class>; f1_<class>_low and _high, as of macro_f1;
    segment_f1_10, _25, _30, _50 and edit, each also with _no_rest; onset_error_frames (mean absolute);
    keypoint_mae (_low, _high), keypoint_mae_px, pck_05, pck_10, each of the four also with _<point>.

    Bouts are found in each trial alone. Segmental F1 is of the counts summed over trials, edit the mean over trials.

    Args:
        classes: C names, in the order of the probabilities.
        points: K names; without them no per-point keys.
        rest: class left out of the _no_rest scores; None: no such keys.
        seed: of the bootstrap.

    Raises:
        ValueError: trials that do not fit together, or names that give the same key twice.
    """
    check_trials(trials, classes=classes, points=points)
    counts = count_trials(trials, num_classes=len(classes), rest=check_rest(rest, len(classes)))
    return score_counts(counts, trials, classes=classes, points=points, rest=rest, seed=seed)


def score_counts(
    counts: TrialCounts,
    frames: Sequence[FrameAnswers],
    *,
    classes: Sequence[str],
    points: Sequence[str] = (),
    rest: int | None = 0,
    seed: int = 0,
) -> dict[str, float]:
    """`score` of trials that were counted, perhaps by several processes.

    Args:
        frames: the labelled frames of all the trials, at least: what average precision ranks.
        rest: as in `count_trials`.
    """
    names = score_keys(classes)
    by_group, points_by_group = sum_groups(counts)
    parts = [
        {"trials": float(len(counts.keys))},
        frame_scores(by_group.sum(0), names=names),
        ranking_scores(frames, names=names),
        _segment_scores(counts.segments, counts.edit, rest=rest),
        _bout_scores(counts, names=names),
        _point_scores(counts, points=points),
        _intervals(by_group, points_by_group, names=names, seed=seed),
    ]
    return _merge(parts)


def check_rest(rest: int | None, num_classes: int) -> int | None:
    """The class that is left out; ValueError where there is none such."""
    if rest is not None and not 0 <= rest < num_classes:
        raise ValueError(f"rest={rest} must be a class in [0, {num_classes}) or None")
    return rest


def score_trials(trials: Sequence[Trial], *, classes: Sequence[str]) -> list[dict[str, str | float]]:
    """Each trial on its own, in order: key, accuracy, macro_f1, edit, segment_f1_50, keypoint_mae; undefined ones left out."""
    check_trials(trials, classes=classes)
    rows = []
    for trial in trials:
        frames = frame_scores(count_confusion([trial], len(classes)), names=score_keys(classes))
        segments, edit = count_segments([trial], num_classes=len(classes)), measure_edits([trial], rest=None)
        bouts = _segment_scores(segments, edit, rest=None)
        counts = keypoint_counts(trial)
        scores = {
            "accuracy": frames["accuracy"],
            "macro_f1": frames["macro_f1"],
            "edit": bouts["edit"],
            "segment_f1_50": bouts["segment_f1_50"],
            "keypoint_mae": math.nan if counts is None else float(keypoint_mae(counts.sum(0))),
        }
        rows.append({"key": trial.key, **_merge([scores])})
    return rows


def _segment_scores(segments: np.ndarray, edit: np.ndarray, *, rest: int | None) -> dict[str, float]:
    out = {}
    without = () if rest is None else (rest,)
    for percent, counts in zip(IOU_PERCENT, segments, strict=True):
        out[f"segment_f1_{percent}"] = segment_f1(*counts)
        # bouts match within their class only, so leaving a class out is leaving out its column
        out[f"segment_f1_{percent}_no_rest"] = segment_f1(*np.delete(counts, without, axis=1))
    for suffix, own in zip(("", "_no_rest"), edit, strict=True):
        out[f"edit{suffix}"] = float(ratio(np.nansum(own), np.isfinite(own).sum()))
    return {key: value for key, value in out.items() if rest is not None or not key.endswith("_no_rest")}


def _bout_scores(counts: TrialCounts, *, names: Sequence[str]) -> dict[str, float]:
    (late, onsets), bouts = counts.onsets, counts.bouts
    out = {"onset_error_frames": float(ratio(late.sum(), onsets.sum()))}
    for c, name in enumerate(names):
        out |= {
            f"bouts_true_{name}": float(bouts[0, c]),
            f"bouts_pred_{name}": float(bouts[1, c]),
            f"onset_error_frames_{name}": float(ratio(late[c], onsets[c])),
        }
    return out


def _point_scores(counts: TrialCounts, *, points: Sequence[str]) -> dict[str, float]:
    if not counts.points:
        return {}
    total = np.sum(counts.points, 0)
    parts = [keypoint_scores(total[k], suffix=f"_{name}") for k, name in enumerate(score_keys(points))]
    return _merge([keypoint_scores(total.sum(0)), *parts])


def _intervals(frames: np.ndarray, points: np.ndarray, *, names: Sequence[str], seed: int) -> dict[str, float]:
    """Of a class only where two groups have it: the spread between groups cannot be known from one."""
    found = {"macro_f1": bootstrap_interval(frames, macro_f1, seed=seed)}
    for c, name in enumerate(names):
        if np.count_nonzero(frames[:, c].sum(-1)) > 1:
            found[f"f1_{name}"] = bootstrap_interval(frames, lambda counts, c=c: class_f1(counts)[:, c], seed=seed)
    found["keypoint_mae"] = bootstrap_interval(points, keypoint_mae, seed=seed)
    return {f"{name}_{end}": value for name, ends in found.items() for end, value in zip(("low", "high"), ends, strict=True)}


def _merge(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """One map without the undefined scores; ValueError when a class or point name makes an existing key."""
    out: dict[str, float] = {}
    for part in parts:
        clash = sorted(out.keys() & part.keys())
        if clash:
            raise ValueError(f"the score {clash[0]} would be given twice; rename the class or point that makes this key")
        out |= part
    return {key: value for key, value in out.items() if math.isfinite(value)}
