"""Adds losses up on the device; `read` is the loop's only wait for the GPU and its only finiteness check."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tarpon.train.checkpoint import Position


class NonFinite(FloatingPointError):
    """A loss or a gradient that is no number.

    Attributes:
        at: the position before the first micro-batch that had one; None when it is not known.
        rows: optimizer step -> rows of the data that this process met in it, since the last look.
        scalars: the means that gave it away.
    """

    def __init__(self, count: int, scalars: dict[str, float], *, at: Position | None, rows: dict[int, list[int]]) -> None:
        super().__init__(
            f"non-finite loss within the last {count} micro-batches: {scalars}; "
            f"lower optim.lr, or look at the data with `tarpon look`"
        )
        self.at, self.rows, self.scalars = at, rows, scalars


class Meter:
    """Means since the last read."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._totals: dict[str, Tensor] = {}
        self._count = 0  # micro-batches
        self._met: list[tuple[Position, Tensor]] = []  # and their rows
        self._suspects: list[tuple[Position, Tensor]] = []  # on the device, looked at only when a mean is no number
        self._notes: dict[str, list[Tensor]] = defaultdict(list)

    def add(self, losses: Mapping[str, Tensor], *, of: tuple[Position, Tensor] | None = None) -> None:
        """One micro-batch.

        Args:
            of: the position before it and its rows (B,), to be named if a loss is no number.
        """
        for name, value in losses.items():
            self._totals[name] = self._totals.get(name, 0) + value.detach().float()
        self._count += 1
        if of:
            at, rows = of
            self._met.append((at, rows.detach().clone()))  # the loader may use its memory again
            self._suspects.append((at, sum(value.detach().float() for value in losses.values())))

    def note(self, name: str, value: Tensor) -> None:
        """A number of the whole optimizer step that the last micro-batch completed."""
        value = value.detach().float()
        self._notes[name].append(value)
        if self._met:
            self._suspects.append((self._met[-1][0], value))

    def read(self, mean: Callable[[Tensor], Tensor] = lambda x: x) -> dict[str, float]:
        """Mean of each term over micro-batches, then over processes by `mean`; then start anew.

        Raises:
            NonFinite: a mean is not finite.
        """
        if not self._count:
            return {}
        means = [total / self._count for total in self._totals.values()]
        means += [torch.stack(values).mean() for values in self._notes.values()]
        values = mean(torch.stack(means)).tolist()
        scalars = dict(zip((*self._totals, *self._notes), values, strict=True))
        if not all(map(math.isfinite, values)):
            raise NonFinite(self._count, scalars, at=self._first_bad(), rows=self._rows())
        self._clear()
        return scalars

    def _first_bad(self) -> Position | None:
        if not self._suspects:
            return None
        places, values = zip(*self._suspects, strict=True)
        finite = torch.isfinite(torch.stack(values)).tolist()
        return next((at for at, fine in zip(places, finite, strict=True) if not fine), None)

    def _rows(self) -> dict[int, list[int]]:
        rows: dict[int, list[int]] = defaultdict(list)
        for at, met in self._met:
            rows[at.step] += [row for row in met.flatten().tolist() if row >= 0]
        return dict(rows)
