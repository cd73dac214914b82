"""All scores of a split's classes and hours, over the whole split at once: of its pages, its windows of time, its stacks.

N pages, G stacks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tarpon.train.metrics.bootstrap import bootstrap_interval
from tarpon.train.metrics.confusion import ratio
from tarpon.train.tasks.cells.metrics.calibration import bin_reliability
from tarpon.train.tasks.cells.metrics.pairs import count_group_pairs, matched_roc_auc, resampled_roc_auc, roc_auc
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, THRESHOLD, PageRows

WINDOW_H, STRIDE_H = 6.0, 3.0  # of the windows of time, as published
MATCH_H = 1.0  # of the bins within which both classes are compared
GOOD_AUC = 0.95
F1_SHARE, HOURS_SHARE = 0.6, 0.4  # of the selection score, as published


def score(rows: PageRows, *, resamples: int = 1000, seed: int = 0) -> dict[str, float]:
    """Score a split. Undefined scores (one class only, nobody called infected) are left out, never NaN.

    Keys: rows, stacks; auc, accuracy, balanced_accuracy (mean recall of the classes that occur), precision, recall, f1 of the
    infected class at a probability of 0.5; ece (calibration, 10 bins); mae, rmse, mse in hours, also with _infected and
    _uninfected; constant_mae of always telling the median target of the training pages, also with _infected and
    _uninfected, of the median of that class; auc_time_matched (pairs filmed within the same hour of the clock alone);
    auc_clock (of the clock by itself: 0.5 where both classes were filmed at the same hours); auc_95_from_h (start of the first
    window from which on every window with both classes has an AUC of at least 0.95); acc_stack, auc_stack (of a stack's mean
    probability), mae_stack (mean over stacks); combined = 0.6 f1 + 0.4 max(0, 1 - mae / highest target), f1 0 if undefined.
    auc, f1 and mae also with _low and _high: 95% over stacks; not auc and f1 where a class has one stack only, whose spread
    cannot be known.

    Args:
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap.
    """
    out = {"rows": len(rows), **score_classes(rows.label, rows.prob), **_hour_scores(rows)}
    out["ece"] = bin_reliability(rows.label, rows.prob).error()
    hour = np.floor(rows.clock / MATCH_H).astype(np.int64)
    out["auc_time_matched"] = matched_roc_auc(rows.label, rows.prob, hour)
    out["auc_clock"] = roc_auc(rows.label, rows.clock)
    out["auc_95_from_h"] = find_good_start(score_windows(rows))
    out |= _stack_means(score_stacks(rows))
    out["combined"] = combine_scores(out["f1"], out["mae"], highest=rows.clamp_range[1])
    if resamples:
        out |= _intervals(rows, resamples=resamples, seed=seed)
    return {key: float(value) for key, value in out.items() if math.isfinite(value)}


def combine_scores(f1: float, mae: float, *, highest: float) -> float:
    """The selection score; without a defined F1 (no page infected, none called so) that part is 0."""
    return F1_SHARE * (f1 if math.isfinite(f1) else 0.0) + HOURS_SHARE * max(0.0, 1.0 - mae / highest)


def score_classes(label: np.ndarray, prob: np.ndarray) -> dict[str, float]:
    """auc, accuracy, balanced_accuracy, precision, recall, f1; NaN where undefined. label (N,) 0 or 1, prob (N,)."""
    called = prob >= THRESHOLD
    hits, true, num_called = ((label == 1) & called).sum(), (label == 1).sum(), called.sum()
    recall = ratio([(~called & (label == 0)).sum(), hits], [(label == 0).sum(), true])
    return {
        "auc": roc_auc(label, prob),
        "accuracy": float((called == (label == 1)).mean()),
        "balanced_accuracy": float(np.nanmean(recall)),
        "precision": float(ratio(hits, num_called)),
        "recall": float(recall[1]),
        "f1": float(ratio(2 * hits, true + num_called)),
    }


@dataclass(frozen=True, kw_only=True)
class Window:
    """Scores of the pages filmed at start <= clock < end."""

    start: float  # hours of the clock
    end: float
    scores: dict[str, float]  # rows, infected (rows), those of `score_classes`, mae; NaN where undefined

    @property
    def centre(self) -> float:
        """Hours of the clock."""
        return (self.start + self.end) / 2


def score_windows(rows: PageRows, *, width: float = WINDOW_H, stride: float = STRIDE_H) -> list[Window]:
    """Windows from hour 0 on until every page is in one; a window without pages is left out."""
    found, start, last = [], 0.0, float(rows.clock.max())
    while start == 0 or start + width - stride <= last:
        at = (rows.clock >= start) & (rows.clock < start + width)
        if at.any():
            scores = {"rows": float(at.sum()), "infected": float((rows.label[at] == 1).sum())}
            scores |= score_classes(rows.label[at], rows.prob[at])
            scores["mae"] = float(np.abs(_error(rows)[at]).mean())
            found.append(Window(start=start, end=start + width, scores=scores))
        start += stride
    return found


def find_good_start(found: Sequence[Window], *, level: float = GOOD_AUC) -> float:
    """Start of the first window from which on all reach `level`; windows of one class say nothing; NaN if the last fails."""
    start = math.nan
    for window in reversed(found):
        if math.isnan(window.scores["auc"]):
            continue
        if window.scores["auc"] < level:
            break
        start = window.start
    return start


def score_stacks(rows: PageRows) -> list[dict[str, float | str]]:
    """One record a stack, by name.

    Keys: stack, well, position, label, rows, prob (mean), accuracy, mae, bias (h, predicted - true).
    """
    _, stack_of_row, count = np.unique(rows.stack, return_inverse=True, return_counts=True)
    error, right = _error(rows), (rows.prob >= THRESHOLD) == (rows.label == 1)
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


def _error(rows: PageRows) -> np.ndarray:
    """(N,) float64 predicted - true hours."""
    return rows.predicted.astype(np.float64) - rows.target


def _hour_scores(rows: PageRows) -> dict[str, float]:
    error, out = _error(rows), {}
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


def _intervals(rows: PageRows, *, resamples: int, seed: int) -> dict[str, float]:
    _, stack = np.unique(rows.stack, return_inverse=True)
    said, true = rows.prob >= THRESHOLD, rows.label == 1
    columns = [said & true, said.astype(np.float64) + true, np.abs(_error(rows)), np.ones(len(rows))]
    counts = np.stack([np.bincount(stack, weights=column) for column in columns], 1)  # (G, 4)
    won, pairs = count_group_pairs(rows.label, rows.prob, stack)
    # An area is no sum over stacks, so its resamples are handed the stacks' weights themselves: the identity's sums.
    statistics = {
        "auc": (np.eye(len(counts)), lambda weights: resampled_roc_auc(weights, won, pairs)),
        "f1": (counts, lambda sums: ratio(2 * sums[:, 0], sums[:, 1])),
        "mae": (counts, lambda sums: ratio(sums[:, 2], sums[:, 3])),
    }
    stacks = [len(set(stack[rows.label == label].tolist())) for label in range(len(CONDITIONS))]
    if 1 in stacks:  # drawn with it or not at all, it would make an interval of no width
        statistics = {"mae": statistics["mae"]}
    out = {}
    for name, (values, statistic) in statistics.items():
        low, high = bootstrap_interval(values, statistic, resamples=resamples, seed=seed)
        out |= {f"{name}_low": low, f"{name}_high": high}
    return out
