"""How two sets share the bins of the batches of one training."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Mix:
    """A share of the bins of every batch from the second set, by error diffusion; or whole batches in turn.

    share: between 0 and 1: after any number of batches the second set has had it to within half a bin.
    alternate: batches in turn, the first set in even ones; `share` has no effect then.
    """

    share: float = 0.5
    alternate: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share={self.share} of the second set must be between 0 and 1; for one set alone, train on it")

    def count_steps(self, need: np.ndarray, bins: int) -> int:
        """Optimizer steps of `bins` bins until either set has had `need` (2,) bins."""
        if self.alternate:  # as many steps for each: an even number, whatever the accumulation
            return 2 * -(-int(need.max()) // bins)
        steps = max(1, int((need / (bins * np.array([1 - self.share, self.share]))).max()) - 1)
        while any(self.count_bins(steps * bins) < need):
            steps += 1
        return steps

    def count_bins(self, bins: int | np.ndarray) -> np.ndarray:
        """Bins of either set among the first `bins` of an epoch, (..., 2) int64, where batches are mixed."""
        second = np.floor(np.asarray(bins) * self.share + 0.5).astype(np.int64)
        return np.stack([bins - second, second], -1)

    def bins_before(self, batches: int | np.ndarray, num_bins: int) -> np.ndarray:
        """Bins of either set before a batch of `num_bins` bins, by the batch's number: (..., 2) int64."""
        if not self.alternate:
            return self.count_bins(num_bins * np.asarray(batches))
        return num_bins * np.stack([(np.asarray(batches) + 1) // 2, np.asarray(batches) // 2], -1)
