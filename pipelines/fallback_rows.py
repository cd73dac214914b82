"""Replacement of bad rows by the next good ones."""

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from tarpon.shards.quarantine import BadSample, Budget

Sample = TypeVar("Sample")


class FallbackRows:
    """Replaces a bad row by the next one in order, which is the same on every rank and after any resume.

    Args:
        rows: ascending ids of the rows that may replace another.
        budget: bad samples allowed; each is counted once.
    """

    def __init__(self, rows: np.ndarray, budget: Budget) -> None:
        self.rows, self.budget = rows, budget
        self._lock = threading.Lock()  # of the budget: samples are made in several threads

    def make_first_good(self, row: int, make: Callable[[int], Sample]) -> Sample:
        """make(row), or make of the next row after it that is not bad.

        Raises:
            ValueError: the budget is spent, or no row is good.
        """
        for _ in range(len(self.rows) + 1):
            try:
                return make(row)
            except BadSample as error:
                with self._lock:
                    self.budget.spend(error.fault)
                at = int(np.searchsorted(self.rows, row)) + 1
                row = int(self.rows[at % len(self.rows)])
        raise ValueError("no readable sample is left; run `tarpon lint` on the shards")
