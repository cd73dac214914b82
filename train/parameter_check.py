"""A run-time check that what is meant to train moves, and what is frozen does not.

Frameworks drop parameters from training in silence (ZeRO fixes its set when it starts); the sums of the weights tell.
"""

from collections.abc import Mapping

import torch
from torch import nn


class ParameterCheck:
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

    def unchanged(self) -> list[str]:
        """Names of the parameters whose sums are as at the start."""
        now = self._sums()
        return [name for name in self._named if now[name] == self._before[name]]

    def expect_moved(self) -> list[str]:
        """Names of the unchanged parameters, for a warning; RuntimeError when the whole part is unchanged."""
        unchanged = self.unchanged()
        if unchanged and len(unchanged) == len(self._named):
            raise RuntimeError(f"no parameter of the {self._part} moved in training: the optimizer does not reach it")
        return unchanged

    def expect_still(self) -> None:
        """RuntimeError when a parameter has changed: the part is frozen."""
        moved = len(self._named) - len(self.unchanged())
        if moved:
            raise RuntimeError(f"{moved} frozen parameters of the {self._part} moved")
