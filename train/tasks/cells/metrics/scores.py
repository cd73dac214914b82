"""All scores of a split's classes and hours, over the whole split at once: of its pages, its windows of time, its stacks.

N pages, G stacks.
"""

import math
from collections.abc import Sequence

import numpy as np

from tarpon.train.metrics.confusion import ratio
from tarpon.train.tasks.cells.metrics.calibration import bin_reliability
from tarpon.train.tasks.cells.metrics.classes import score_classes
from tarpon.train.tasks.cells.metrics.control import score_onset
from tarpon.train.tasks.cells.metrics.intervals import score_intervals
from tarpon.train.tasks.cells.metrics.pairs import matched_roc_auc, roc_auc
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, THRESHOLD, PageRows
from tarpon.train.tasks.cells.metrics.windows import find_good_hour, score_windows

MATCH_H = 1.0  # of the bins within which both classes are compared
F1_SHARE, HOURS_SHARE = 0.6, 0.4  # of the selection score, as published


def score(rows: PageRows, *, resamples: int = 1000, seed: int = 0) -> dict[str, float]:
    """Score a split. Undefined scores (one class only, nobody called infected) are left out, never NaN.

    Keys: rows, stacks, wells; auc, accuracy, balanced_accuracy (mean recall of the classes that occur), precision, recall, f1
    of the infected class at a probability of 0.5; ece (calibration, 10 bins); mae, rmse, mse in hours, also with _infected and
    _uninfected; constant_mae of always telling the median target of the training pages, also with _infected and
    _uninfected, of the median of that class; auc_time_matched (pairs filmed within the same hour of the clock alone);
    auc_clock (of the clock by itself: 0.5 where both classes were filmed at the same hours); auc_before_onset (the control:
    nothing is to be seen there yet) with rows_before_onset, auc_from_onset; auc_95_from_h (middle of the first window from
    which on every window with both classes has an AUC of at least 0.95); acc_stack, auc_stack (of a stack's mean
    probability), mae_stack (mean over stacks); combined = 0.6 f1 + 0.4 max(0, 1 - mae / highest target), f1 0 if undefined.
    auc, auc_before_onset, auc_from_onset, f1 and mae also with _low and _high: see `intervals.score_intervals`.

    Args:
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap.
    """
    out = {"rows": len(rows), **score_classes(rows.label, rows.prob), **_hour_scores(rows)}
    out["ece"] = bin_reliability(rows.label, rows.prob).error()
    hour = np.floor(rows.clock / MATCH_H).astype(np.int64)
    out["auc_time_matched"] = matched_roc_auc(rows.label, rows.prob, hour)
    out["auc_clock"] = roc_auc(rows.label, rows.clock)
    out |= score_onset(rows)
    out["auc_95_from_h"] = find_good_hour(score_windows(rows))
    out |= _stack_means(score_stacks(rows)) | {"wells": len(set(rows.well.tolist()))}
    out["combined"] = combine_scores(out["f1"], out["mae"], highest=rows.clamp_range[1])
    if resamples:
        out |= score_intervals(rows, resamples=resamples, seed=seed)
    return {key: float(value) for key, value in out.items() if math.isfinite(value)}


def combine_scores(f1: float, mae: float, *, highest: float) -> float:
    """The selection score; without a defined F1 (no page infected, none called so) that part is 0."""
    return F1_SHARE * (f1 if math.isfinite(f1) else 0.0) + HOURS_SHARE * max(0.0, 1.0 - mae / highest)


def score_stacks(rows: PageRows) -> list[dict[str, float | str]]:
    """One record a stack, by name.

    Keys: stack, well, position, label, rows, prob (mean), accuracy, mae, bias (h, predicted - true).
    """
    _, stack_of_row, count = np.unique(rows.stack, return_inverse=True, return_counts=True)
    error, right = rows.error(), (rows.prob >= THRESHOLD) == (rows.label == 1)
    records = []
    for at in np.split(np.argsort(stack_of_row, kind="stable"), np.cumsum(count)[:-1]):
        records.append(
            {
                "stack": str(rows.stack[at[0]]),
                "well": str(rows.well[at[0]]),
                "position": str(rows.position[at[0]]),
                "label": int(rows.label[at[0]]),
                "rows": len(at),
                "prob": float(rows.prob[at].mean(dtype=np.float64)),
                "accuracy": float(right[at].mean()),
                "mae": float(np.abs(error[at]).mean()),
                "bias": float(error[at].mean()),
            }
        )
    return records


def _hour_scores(rows: PageRows) -> dict[str, float]:
    error, out = rows.error(), {}
    baseline = {"": rows.constant} | dict.fromkeys((f"_{name}" for name in CONDITIONS), rows.constant_class)
    masks = {"": np.ones(len(rows), bool)} | {f"_{name}": rows.label == label for label, name in enumerate(CONDITIONS)}
    for end, at in masks.items():
        mse = ratio(np.square(error[at]).sum(), at.sum())
        out[f"mae{end}"] = ratio(np.abs(error[at]).sum(), at.sum())
        out |= {f"rmse{end}": np.sqrt(mse), f"mse{end}": mse}
        off = np.abs(baseline[end].astype(np.float64) - rows.target)
        out[f"constant_mae{end}"] = ratio(off[at].sum(), at.sum())
    return {name: float(value) for name, value in out.items()}


def _stack_means(records: Sequence[dict]) -> dict[str, float]:
    label, prob = (np.array([record[name] for record in records]) for name in ("label", "prob"))
    return {
        "stacks": len(records),
        "acc_stack": float(((prob >= THRESHOLD) == (label == 1)).mean()),
        "auc_stack": roc_auc(label, prob),
        "mae_stack": float(np.mean([record["mae"] for record in records])),
    }
