"""A run-time check that what is meant to train moves, and what is frozen does not.

Frameworks drop parameters from training in silence (ZeRO fixes its set when it starts); the sums of the weights tell.
"""

from collections.abc import Mapping

import torch
from torch import nn


class Watch:
    """Sums of every parameter, to compare with later."""

    def __init__(self, groups: Mapping[str, Mapping[str, nn.Parameter]], part: str) -> None:
        self._named = {
            name: p for group, members in groups.items() if group.startswith(f"{part}/") for name, p in members.items()
        }
        self._part, self._before = part, self._sums()

    def _sums(self) -> dict[str, tuple[float, float]]:
        with torch.no_grad():
            rows = [torch.stack([p.double().sum(), p.double().square().sum()]) for p in self._named.values()]
        return dict(zip(self._named, map(tuple, torch.stack(rows).tolist()), strict=True)) if rows else {}

    def still(self) -> list[str]:
        """Names of the parameters that are as they were."""
        now = self._sums()
        return [name for name in self._named if now[name] == self._before[name]]

    def expect_moved(self) -> list[str]:
        """Still parameters, for a warning; RuntimeError when the whole part stands still."""
        still = self.still()
        if still and len(still) == len(self._named):
            raise RuntimeError(f"no parameter of the {self._part} moved in training: the optimizer does not reach it")
        return still

    def expect_still(self) -> None:
        moved = len(self._named) - len(self.still())
        if moved:
            raise RuntimeError(f"{moved} frozen parameters of the {self._part} moved")
