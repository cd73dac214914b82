"""What is delivered for a row that is bad: in training another row, in evaluation nothing, by name."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from tarpon.shards.quarantine import BadSample, Budget, Fault

Sample = TypeVar("Sample")
Row = TypeVar("Row", int, np.ndarray)

NONE_LEFT = "no readable sample is left; run `tarpon lint` on the shards"


class FallbackRows:
    """Rows that may stand in for a bad one: the next in order, so that every rank and resume agrees.

    Args:
        rows: ascending row ids. budget: bad samples allowed; each is spent once it is met.
    """

    def __init__(self, rows: Sequence[int], budget: Budget) -> None:
        self.rows, self.budget = rows, budget

    def make_first_good(self, row: int, make: Callable[[int], Sample]) -> Sample:
        """make(row), or make of the next row after it that is not bad.

        Raises:
            ValueError: the budget is spent, or no row is good.
        """
        for _ in range(len(self.rows) + 1):
            try:
                return make(row)
            except BadSample as error:
                self.spend(error.fault, row)
                at = bisect_left(self.rows, row) + 1
                row = int(self.rows[at % len(self.rows)])
        raise ValueError(NONE_LEFT)

    def spend(self, fault: Fault, row: int) -> None:
        """Count a bad row; ValueError past what the budget allows."""
        self.budget.spend(fault, row=row, split=self.rows)


class Filler:
    """The row whose content fills places of a batch where nothing is delivered; bad ones are passed over, unspent."""

    def __init__(self, rows: Sequence[int]) -> None:
        self._rows = rows
        self._at = 0  # in `rows`: those before it are bad

    @property
    def row(self) -> int:
        return int(self._rows[self._at])

    def make(self, make: Callable[[int], Sample]) -> Sample:
        """make of the first row that is not bad; ValueError where there is none."""
        for at in range(self._at, len(self._rows)):
            try:
                made = make(int(self._rows[at]))
            except BadSample:
                continue
            self._at = at  # two threads that come here at once find the same
            return made
        raise ValueError(NONE_LEFT)


def left_out(row: Row) -> Row:
    """How a row that was asked for and cannot be delivered is told in a batch, and back: below -1, which is padding."""
    return -2 - row


def row_left_out(told: int) -> int | None:
    """The row that `left_out` told; None for a row that was delivered, and for padding."""
    return -2 - told if told <= -2 else None
