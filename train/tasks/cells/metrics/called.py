"""From which hour on a stack is called infected. N pages.

One page above the threshold is no call: a dividing cell or a passing shadow would do. HOLD pages in a row are.
"""

import math
from dataclasses import dataclass

import numpy as np

from tarpon.train.tasks.cells.metrics.predictions import THRESHOLD, PageRows

HOLD = 3  # pages in a row


@dataclass(frozen=True, kw_only=True)
class CalledStack:
    """A stack whose class is known, and what was said of it."""

    stack: str
    well: str
    label: int  # 1 infected
    called: float  # hour of the clock from which on it is called infected; NaN: never
    onset: float  # hour of the clock at which its infection began; NaN: not known, or uninfected

    @property
    def delay(self) -> float:
        """Hours from the beginning of the infection to the call; below 0: called before."""
        return self.called - self.onset


def find_call(prob: np.ndarray, clock: np.ndarray, *, hold: int = HOLD, threshold: float = THRESHOLD) -> float:
    """Hour of the first page from which on `hold` pages in a row have at least the threshold; NaN: there is none.

    Args:
        prob, clock: (N,) of the pages of one stack, in order of time. Of fewer pages than `hold` all must have it.
    """
    yes = np.asarray(prob) >= threshold
    hold = min(hold, len(yes))
    in_a_row = np.lib.stride_tricks.sliding_window_view(yes, hold).all(1)
    return float(clock[in_a_row.argmax()]) if in_a_row.any() else math.nan


def call_stacks(rows: PageRows, *, hold: int = HOLD) -> list[CalledStack]:
    """Every stack of a split, by name."""
    found = []
    for name in np.unique(rows.stack):
        own = rows.take(rows.stack == name)
        own = own.take(np.argsort(own.clock, kind="stable"))
        found.append(
            CalledStack(
                stack=str(name),
                well=str(own.well[0]),
                label=int(own.label[0]),
                called=find_call(own.prob, own.clock, hold=hold),
                onset=float(own.onset[0]) if own.label[0] == 1 else math.nan,
            )
        )
    return found
