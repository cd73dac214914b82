"""Adds losses up on the device; `read` is the loop's only wait for the GPU and its only finiteness check."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class Meter:
    """Means since the last read."""

    def __init__(self) -> None:
        self._totals: dict[str, Tensor] = {}
        self._count = 0  # micro-batches

    def add(self, losses: Mapping[str, Tensor]) -> None:
        for name, value in losses.items():
            self._totals[name] = self._totals.get(name, 0) + value.detach().float()
        self._count += 1

    def read(self, mean: Callable[[Tensor], Tensor] = lambda x: x) -> dict[str, float]:
        """Mean of each term over micro-batches, then over processes by `mean`; then start anew.

        Raises:
            FloatingPointError: a mean is not finite.
        """
        if not self._count:
            return {}
        values = mean(torch.stack(list(self._totals.values())) / self._count).tolist()
        scalars = dict(zip(self._totals, values, strict=True))
        if not all(map(math.isfinite, values)):
            raise FloatingPointError(
                f"non-finite loss within the last {self._count} micro-batches: {scalars}; "
                f"lower optim.lr, or look at the data with `tarpon look`"
            )
        self._totals, self._count = {}, 0
        return scalars
