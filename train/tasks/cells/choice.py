"""Which pages of a split are taken: by class, hour and place in the stack.

n pages, or n kinds of page: the same arrays of columns go in for a whole split, for a shard, and for the kinds that a shard's
summary tells.
"""

from dataclasses import dataclass

import numpy as np

from tarpon.shards.sources.cells.source import select_hours
from tarpon.train.tasks.cells.options import Pages


@dataclass(frozen=True, kw_only=True, eq=False)
class PageChoice:
    """The pages that a split's options take."""

    pages: Pages
    rate: float  # pages an hour
    last_hour: float  # of the data set: where a window without ends ends
    match: bool = False  # both classes by both windows
    common: np.ndarray | None = None  # times, in pages from hour 0, to which the pages are limited; None: any

    def mask(self, label: np.ndarray, hours: np.ndarray, opening: np.ndarray) -> np.ndarray:
        """(n,) bool. label (n,), 1 infected; hours (n,) float32 of the clock; opening (n,) bool: a stack's first page."""
        own = self.pages
        infected = self._in_hours(hours, own.infected_window_hours, own.infected_stride)
        uninfected = self._in_hours(hours, own.uninfected_window_hours, own.uninfected_stride)
        if own.uninfected_window_hours is None and not own.uninfected_use_all:
            uninfected = uninfected & opening
        if self.match:
            infected = uninfected = infected & uninfected
        taken = np.where(label == 1, infected, uninfected)
        return taken if self.common is None else taken & np.isin(self._times(hours), self.common)

    def _in_hours(self, hours: np.ndarray, window: tuple[float, float] | None, stride: int) -> np.ndarray:
        window = (0.0, self.last_hour) if window is None else window
        return select_hours(hours, window, frames_per_hour=self.rate, stride=stride)

    def _times(self, hours: np.ndarray) -> np.ndarray:
        return np.rint(hours * self.rate)

    def common_times(self, label: np.ndarray, hours: np.ndarray) -> np.ndarray:
        """Times at which there are pages of both classes: a stack may end early, or have begun late."""
        times = self._times(hours)
        return np.intersect1d(times[label == 1], times[label != 1])


def find_choice(
    pages: Pages,
    label: np.ndarray,
    hours: np.ndarray,
    opening: np.ndarray,
    *,
    rate: float,
    last_hour: float,
    match: bool,
) -> PageChoice:
    """The choice for a split; label, hours, opening: of all pages of it, or of all kinds."""
    choice = PageChoice(pages=pages, rate=rate, last_hour=last_hour, match=match)
    if not match:
        return choice
    taken = choice.mask(label, hours, opening)
    common = choice.common_times(label[taken], hours[taken])
    return PageChoice(pages=pages, rate=rate, last_hour=last_hour, match=match, common=common)
