"""How far a score could move had other animals been filmed: percentile bootstrap over groups."""

from collections.abc import Callable

import numpy as np


def bootstrap_interval(
    counts: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a score under resampling of whole groups with replacement.

    Frames and trials of one animal are alike, so resampling those would promise too much. A resample of groups is a vector
    of whole-number weights, so all resamples together are one matrix product with the groups' counts.

    Args:
        counts: (G, ...) additive counts, one entry a group (a confusion matrix, sums of errors). Groups with nothing but
            zeros (no labelled frame) say nothing about the score and are left out.
        statistic: (resamples, ...) float64 summed counts -> (resamples,) scores; NaN where undefined, which are passed over.

    Returns:
        (low, high); (nan, nan) with fewer than two groups, whose spread cannot be known.
    """
    sums = resample_groups(counts, resamples=resamples, seed=seed)
    return (float("nan"), float("nan")) if sums is None else percentile_interval(statistic(sums), level=level)


def resample_groups(counts: np.ndarray, *, resamples: int, seed: int) -> np.ndarray | None:
    """(resamples, ...) float64 sums of groups drawn again, as `bootstrap_interval` takes them; None with fewer than two."""
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be at least 1")
    counts = np.asarray(counts, np.float64)  # float64 holds whole numbers exactly to 2**53, and its product is BLAS
    counts = counts[counts.reshape(len(counts), -1).any(1)] if len(counts) else counts
    groups = len(counts)
    if groups < 2:
        return None
    drawn = np.random.default_rng(seed).integers(groups, size=(resamples, groups))
    cell = drawn + groups * np.arange(resamples)[:, None]
    weight = np.bincount(cell.ravel(), minlength=resamples * groups).reshape(resamples, groups)
    sums = weight.astype(np.float64) @ counts.reshape(groups, -1)
    return sums.reshape(resamples, *counts.shape[1:])


def percentile_interval(scores: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """(low, high) of the (resamples,) scores that are defined; (nan, nan) without any."""
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be in (0, 1)")
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return float("nan"), float("nan")
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
