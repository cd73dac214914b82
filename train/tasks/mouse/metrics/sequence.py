"""All scores of labelled sequences with keypoints, as one flat map ready for JSON and TensorBoard.

C classes, G groups, K keypoints.
"""

import math
from collections.abc import Sequence

import numpy as np

from tarpon.train.metrics.bootstrap import bootstrap_interval
from tarpon.train.metrics.confusion import frame_scores, macro_f1, ratio
from tarpon.train.metrics.names import score_keys
from tarpon.train.tasks.mouse.metrics.keypoints import COLUMNS, keypoint_counts, keypoint_mae, keypoint_scores
from tarpon.train.tasks.mouse.metrics.ranking import ranking_scores
from tarpon.train.tasks.mouse.metrics.segments import bout_counts, edit_score, onset_errors, segment_counts, segment_f1
from tarpon.train.tasks.mouse.metrics.trial import Trial, check_trials, count_confusion

IOU_PERCENT = (10, 25, 30, 50)  # 30 is what the published system reports, the others the field


def score(
    trials: Sequence[Trial], *, classes: Sequence[str], points: Sequence[str] = (), rest: int | None = 0, seed: int = 0
) -> dict[str, float]:
    """Score a split. Undefined scores (a class without frames, no keypoints, one group) are left out, never NaN.

    Keys: trials, frames (labelled), accuracy, balanced_accuracy, macro_f1 (_low, _high: 95% over groups),
    majority_macro_f1, average_precision; average_precision_, f1_, precision_, recall_, support_, bouts_true_, bouts_pred_ and
    onset_error_frames_<class>;
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
    names = score_keys(classes)
    if rest is not None and not 0 <= rest < len(classes):
        raise ValueError(f"rest={rest} must be a class in [0, {len(classes)}) or None")
    parts = [
        {"trials": float(len(trials))},
        frame_scores(count_confusion(trials, len(classes)), names=names),
        ranking_scores(trials, names=names),
        _segment_scores(trials, num_classes=len(classes), rest=rest),
        _bout_scores(trials, names=names),
        _point_scores(trials, points=points),
        _intervals(trials, num_classes=len(classes), seed=seed),
    ]
    return _merge(parts)


def score_trials(trials: Sequence[Trial], *, classes: Sequence[str]) -> list[dict[str, str | float]]:
    """Each trial on its own, in order: key, accuracy, macro_f1, edit, segment_f1_50, keypoint_mae; undefined ones left out."""
    check_trials(trials, classes=classes)
    rows = []
    for trial in trials:
        frames = frame_scores(count_confusion([trial], len(classes)), names=score_keys(classes))
        bouts = _segment_scores([trial], num_classes=len(classes), rest=None)
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


def _segment_scores(trials: Sequence[Trial], *, num_classes: int, rest: int | None) -> dict[str, float]:
    out = {}
    without = () if rest is None else (rest,)
    for percent in IOU_PERCENT:
        counts = np.sum(
            [segment_counts(trial.actions, trial.predicted, iou=percent / 100, num_classes=num_classes) for trial in trials],
            axis=0,
        )
        out[f"segment_f1_{percent}"] = segment_f1(*counts)
        # bouts match within their class only, so leaving a class out is leaving out its column
        out[f"segment_f1_{percent}_no_rest"] = segment_f1(*np.delete(counts, without, axis=1))
    for suffix, ignore in (("", ()), ("_no_rest", without)):
        edit = np.array([edit_score(trial.actions, trial.predicted, ignore=ignore) for trial in trials])
        out[f"edit{suffix}"] = float(ratio(np.nansum(edit), np.isfinite(edit).sum()))
    return {key: value for key, value in out.items() if rest is not None or not key.endswith("_no_rest")}


def _bout_scores(trials: Sequence[Trial], *, names: Sequence[str]) -> dict[str, float]:
    bouts = sum(bout_counts(trial.actions, trial.predicted, num_classes=len(names)) for trial in trials)
    onsets = [onset_errors(trial.actions, trial.predicted) for trial in trials]
    late = np.abs(np.concatenate([frames for frames, _ in onsets]))
    label = np.concatenate([label for _, label in onsets])
    out = {"onset_error_frames": float(ratio(late.sum(), len(late)))}
    for c, name in enumerate(names):
        of_class = late[label == c]
        out |= {
            f"bouts_true_{name}": float(bouts[0, c]),
            f"bouts_pred_{name}": float(bouts[1, c]),
            f"onset_error_frames_{name}": float(ratio(of_class.sum(), len(of_class))),
        }
    return out


def _point_scores(trials: Sequence[Trial], *, points: Sequence[str]) -> dict[str, float]:
    counts = [count for count in map(keypoint_counts, trials) if count is not None]
    if not counts:
        return {}
    total = np.sum(counts, 0)
    parts = [keypoint_scores(total[k], suffix=f"_{name}") for k, name in enumerate(score_keys(points))]
    return _merge([keypoint_scores(total.sum(0)), *parts])


def _intervals(trials: Sequence[Trial], *, num_classes: int, seed: int) -> dict[str, float]:
    names, group = np.unique([trial.group for trial in trials], return_inverse=True)
    frames = np.zeros((len(names), num_classes, num_classes), np.int64)
    points = np.zeros((len(names), COLUMNS))
    for g, trial in zip(group, trials, strict=True):
        frames[g] += count_confusion([trial], num_classes)
        counts = keypoint_counts(trial)
        points[g] += 0 if counts is None else counts.sum(0)
    f1 = bootstrap_interval(frames, macro_f1, seed=seed)
    mae = bootstrap_interval(points, keypoint_mae, seed=seed)
    return {"macro_f1_low": f1[0], "macro_f1_high": f1[1], "keypoint_mae_low": mae[0], "keypoint_mae_high": mae[1]}


def _merge(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """One map without the undefined scores; ValueError when a class or point name makes an existing key."""
    out: dict[str, float] = {}
    for part in parts:
        clash = sorted(out.keys() & part.keys())
        if clash:
            raise ValueError(f"the score {clash[0]} would be given twice; rename the class or point that makes this key")
        out |= part
    return {key: value for key, value in out.items() if math.isfinite(value)}
