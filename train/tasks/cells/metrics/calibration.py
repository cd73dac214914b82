"""Whether a probability means what it says. N rows, K bins."""

from dataclasses import dataclass

import numpy as np

from tarpon.train.metrics.confusion import ratio

BINS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """What became of the rows that were given about the same probability."""

    edges: np.ndarray  # (K + 1,) of the bins; a bin holds its lower edge, the last one both
    count: np.ndarray  # (K,) int64 rows
    told: np.ndarray  # (K,) mean probability; NaN in an empty bin
    found: np.ndarray  # (K,) share of positives; NaN in an empty bin

    def error(self) -> float:
        """Expected calibration error: mean of |told - found| over rows (Naeini, Cooper and Hauskrecht, AAAI 2015)."""
        gap = np.abs(np.nan_to_num(self.told - self.found))
        return float((gap * self.count).sum() / self.count.sum())


def reliability(label: np.ndarray, prob: np.ndarray, *, bins: int = BINS) -> Reliability:
    """Bins of equal width over the probability of the positive class, so both classes' errors are seen.

    Args:
        label: (N,) 0 or 1. prob: (N,) in [0, 1].
    """
    place = np.clip((prob.astype(np.float64) * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        count=count,
        told=ratio(np.bincount(place, weights=prob, minlength=bins), count),
        found=ratio(np.bincount(place, weights=label, minlength=bins), count),
    )
