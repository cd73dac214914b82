"""Grey levels of a stack: robust ranges of all its pages, and of its beginning."""

from collections.abc import Sequence

import numpy as np

LOW, HIGH = 0.001, 0.999  # shares of a stack's pixels: its robust range leaves out hot pixels and dust
FIRST_PAGES = 5  # pages from which the first usable one is chosen
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras have, whatever they are stored in
ALIKE = 0.5  # a usable page's range overlaps the usual one of the first pages by this share of both together


class LevelHistogram:
    """Counts the grey levels of a stack's pages; of red, green and blue all together."""

    def __init__(self, bits: int) -> None:
        self.counts = np.zeros(2**bits, np.int64)

    def add(self, page: np.ndarray) -> None:
        self.counts += np.bincount(page.ravel(), minlength=len(self.counts))

    def find_range(self) -> tuple[int, int]:
        """The levels at or below which LOW and HIGH of the pixels lie; where those are one, the least and the greatest."""
        upto = np.cumsum(self.counts)
        low, high = (int(np.searchsorted(upto, share * upto[-1])) for share in (LOW, HIGH))
        if low == high:
            seen = np.flatnonzero(self.counts)
            low, high = int(seen[0]), int(seen[-1])
        return low, high


class StackLevels:
    """Grey levels of the pages of one channel of a stack, in order."""

    def __init__(self, bits: int) -> None:
        self.whole, self.first, self.bits = LevelHistogram(bits), [], bits

    def add(self, page: np.ndarray) -> None:
        self.whole.add(page)
        if len(self.first) < FIRST_PAGES:
            self.first.append(find_range(page, bits=self.bits))

    def find_ranges(self) -> tuple[int, int, int, int]:
        """Lower and upper end of the whole stack's range, then of that of its first usable page."""
        whole = self.whole.find_range()
        return *whole, *choose_first_range(self.first, otherwise=whole)


def find_range(page: np.ndarray, *, bits: int) -> tuple[int, int]:
    """The same range of one page."""
    levels = LevelHistogram(bits)
    levels.add(page)
    return levels.find_range()


def find_depth(greatest: int) -> int:
    """The bits of a camera whose brightest pixel has this level: 12 for 4095 in a file of 16 bits."""
    return next(depth for depth in DEPTHS if greatest < 2**depth)


def choose_first_range(ranges: Sequence[tuple[int, int]], *, otherwise: tuple[int, int]) -> tuple[int, int]:
    """The range of the first usable page: the first page, unless it is black, flashed or otherwise unlike those after it.

    Args:
        ranges: of the first pages, FIRST_PAGES at most.
        otherwise: where every one of them is a single level.
    """
    usable = [levels for levels in ranges if levels[0] < levels[1]]
    if not usable:
        return otherwise
    usual = tuple(np.median(usable, axis=0))
    return next(
        (levels for levels in usable if _overlap(levels, usual) >= ALIKE), max(usable, key=lambda r: _overlap(r, usual))
    )


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two ranges, the part they share by the part they cover."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return max(shared, 0) / (max(one[1], other[1]) - min(one[0], other[0]))
