"""Makes a grey page smaller by whole factors, as DALI's antialiased linear resize does, in less than half of its time on a CPU.

DALI's pass along a row is not vectorised for one channel. Here all sums are of whole-number weights and contiguous rows: a
page's columns are split by remainder, so that those of one output pixel lie at the same place of different arrays.
"""

import threading
from collections.abc import Callable

import numpy as np

BLOCK = 128  # output rows made at once: few NumPy calls, and sums that stay in the cache
MOST = 127  # product of the two factors: with it the weighted sum of 16-bit levels fits into 32 bits
WIDEN = 257  # from 8 to 16 bits, as DALI does: 255 becomes 65535
# one page at a time: two threads hand the interpreter's lock to and fro (a page of a megapixel: 1.6 ms, one thread alone 1.2)
_ONE_AT_A_TIME = threading.Lock()


def find_factors(height: int, width: int, size: int) -> tuple[int, int] | None:
    """Whole numbers of stored rows and columns for each of `size`; None where there are none, or they are too large."""
    rows, columns = height // size, width // size
    whole = rows * size == height and columns * size == width
    return (rows, columns) if whole and 0 < rows * columns <= MOST else None


def triangle_weights(factor: int) -> np.ndarray:
    """Weights (T,) uint32 of stored pixels about the middle of `factor` of them, falling to 0 at `factor` pixels from it."""
    if factor % 2:
        return (factor - np.abs(np.arange(1 - factor, factor))).astype(np.uint32)
    return (2 * factor - np.abs(np.arange(1 - 2 * factor, 2 * factor, 2))).astype(np.uint32)


def shrink(page: np.ndarray, factors: tuple[int, int]) -> np.ndarray:
    """A page made smaller by the filter of `triangle_weights` along both axes; beyond its edges its outermost pixels go on.

    Args:
        page: (H, W) uint16, or uint8, which arrives times WIDEN.
        factors: of `find_factors`: (rows, columns) of the page for one of what is returned.

    Returns:
        (H / rows, W / columns) uint16, rounded to the nearest level.
    """
    if factors == (1, 1):
        return _widen(page)
    rows, columns = factors
    height, width = len(page) // rows, page.shape[1] // columns
    down, across = triangle_weights(rows), triangle_weights(columns)
    before = (len(down) - rows) // 2  # stored rows that the first output row takes from beyond the edge
    total = np.uint32(down.sum() * across.sum())
    small = np.empty((height, width), np.uint16)
    with _ONE_AT_A_TIME:
        for first in range(0, height, BLOCK):
            count = min(BLOCK, height - first)
            top = first * rows - before
            bottom = top + (count - 1) * rows + len(down)
            inside = top >= 0 and bottom <= len(page)
            block = page[top:bottom] if inside else page[np.arange(top, bottom).clip(0, len(page) - 1)]
            parts = _split_columns(_widen(block), columns)
            sums = _sum_columns([_sum_rows(part, down, rows, count) for part in parts], across, width)
            sums += total // 2
            small[first : first + count] = np.floor_divide(sums, total, out=sums)
    return small


def _widen(page: np.ndarray) -> np.ndarray:
    """The page as uint16; itself where it is."""
    return page if page.dtype == np.uint16 else page * np.uint16(WIDEN)


def _split_columns(block: np.ndarray, columns: int) -> list[np.ndarray]:
    """The block (n, W) uint16 as uint32: even and odd columns apart for an even factor, which reads pairs at once."""
    if columns % 2:
        return [block.astype(np.uint32)]
    low_first = np.ascontiguousarray(block).view("<u4")
    return [low_first & np.uint32(0xFFFF), low_first >> np.uint32(16)]


def _sum_rows(part: np.ndarray, weights: np.ndarray, step: int, count: int) -> np.ndarray:
    """(count, w): row i is the weighted sum of the rows from i * step on."""
    return _fold(lambda tap: part[tap : tap + (count - 1) * step + 1 : step], weights)


def _sum_columns(parts: list[np.ndarray], weights: np.ndarray, width: int) -> np.ndarray:
    """(n, width): the same along the columns, which lie in one part or by turns in two."""
    step, kinds = (len(weights) + 1) // 2, len(parts)
    before = (len(weights) - step) // 2
    margin = -(-before // kinds)
    wide = [_continue_edges(part, parts[0][:, :1], parts[-1][:, -1:], margin) for part in parts]

    def take(tap: int) -> np.ndarray:
        turn, kind = divmod(tap - before, kinds)
        first = margin + turn
        return wide[kind][:, first : first + (width - 1) * (step // kinds) + 1 : step // kinds]

    return _fold(take, weights)


def _continue_edges(part: np.ndarray, left: np.ndarray, right: np.ndarray, margin: int) -> np.ndarray:
    """The part (n, w) between `margin` columns of the page's outermost pixels on each side; np.pad takes ten times as long."""
    wide = np.empty((len(part), part.shape[1] + 2 * margin), part.dtype)
    wide[:, :margin], wide[:, margin : wide.shape[1] - margin], wide[:, wide.shape[1] - margin :] = left, part, right
    return wide


def _fold(take: Callable[[int], np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The sum of `take(t)` times weight t over all t; the weights are symmetric, so that each is multiplied once."""
    last = len(weights) - 1
    total = None
    for tap in reversed(range(len(weights) // 2 + len(weights) % 2)):
        pair = take(tap) + take(last - tap) if tap < last - tap else take(tap).copy()
        if weights[tap] != 1:
            pair *= weights[tap]
        total = pair if total is None else np.add(total, pair, out=total)
    return total
