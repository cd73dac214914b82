"""Calibration: whether of the rows given a probability p a share p is positive. N rows, K bins."""

from dataclasses import dataclass

import numpy as np

from tarpon.train.metrics.confusion import ratio

BINS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """A reliability diagram: predicted probability against the share of positives, bin by bin."""

    edges: np.ndarray  # (K + 1,) of the bins; a bin holds its lower edge, the last one both
    count: np.ndarray  # (K,) int64 rows
    mean_predicted: np.ndarray  # (K,) mean probability; NaN in an empty bin
    fraction_positive: np.ndarray  # (K,) share of rows that are positive; NaN in an empty bin

    def error(self) -> float:
        """Expected calibration error: mean gap of the bins, by rows (Naeini, Cooper and Hauskrecht, AAAI 2015)."""
        gap = np.abs(np.nan_to_num(self.mean_predicted - self.fraction_positive))
        return float((gap * self.count).sum() / self.count.sum())


def bin_reliability(label: np.ndarray, prob: np.ndarray, *, bins: int = BINS) -> Reliability:
    """Bin rows by the probability of the positive class, in bins of equal width.

    Args:
        label: (N,) 0 or 1. prob: (N,) in [0, 1].
    """
    bin_of_row = np.clip((prob.astype(np.float64) * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(bin_of_row, minlength=bins)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        count=count,
        mean_predicted=ratio(np.bincount(bin_of_row, weights=prob, minlength=bins), count),
        fraction_positive=ratio(np.bincount(bin_of_row, weights=label, minlength=bins), count),
    )
