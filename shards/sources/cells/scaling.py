"""Pixel values as the grey levels that shards store: 8 or 16 bits, unsigned.

Unsigned pixels of 8 and 16 bits are kept as they are. All other values, signed or floating point, become 16 bits by one rule:
with a range given, low becomes 0 and high 65535, and what lies outside is clipped; without one, whole numbers of 0 to 65535 are
kept as they are, numbers of 0 to 1 are multiplied by 65535, and any other stack is refused: a range of each stack's own would
hide what differs between stacks, and would know the stack's end at its beginning.
"""

from collections.abc import Callable, Iterable

import numpy as np

PLAIN = {"uint8": 8, "uint16": 16}
FULL = 65535

Scale = Callable[[np.ndarray], np.ndarray]


def find_bits(dtype: np.dtype) -> int:
    """Bits of the levels that pixels of this dtype become; ValueError for pixels that are no brightness."""
    if dtype.name in PLAIN:
        return PLAIN[dtype.name]
    if dtype.kind in "iuf":
        return 16
    raise ValueError(f"pixels are {dtype.name}; whole or floating point numbers are read")


def find_scale(
    pages: Callable[[], Iterable[np.ndarray]], dtype: np.dtype, *, values: tuple[float, float] | None
) -> tuple[Scale, str]:
    """How pages become levels, and a line on it, empty where they stay as they are.

    Args:
        pages: begins a reading of all pages of a stack; called at most once, and only where the rule depends on them.
        values: the values that become 0 and 65535; None: the rule without a range.

    Raises:
        ValueError: values that the rule has no place for.
    """
    if dtype.name in PLAIN:
        return (lambda page: page), ""
    if values is not None:
        low, high = values
        return _make_linear(low, high), f"pixels are {dtype.name}: {low:g} to {high:g} became 0 to {FULL}, as asked"
    least, most, whole = np.inf, -np.inf, True
    for page in pages():
        if not np.isfinite(page).all():
            raise ValueError("pixels that are no finite number (NaN or infinite)")
        least, most = min(least, float(page.min())), max(most, float(page.max()))
        whole = whole and (dtype.kind != "f" or bool((page == np.rint(page)).all()))
    if whole and least >= 0 and most <= FULL:
        return (
            lambda page: page.astype(np.uint16)
        ), f"pixels are {dtype.name}, all whole numbers up to {most:g}: kept as 16 bits"
    if dtype.kind == "f" and least >= 0 and most <= 1:
        return _make_linear(0.0, 1.0), f"pixels are {dtype.name} within 0 to 1: multiplied by {FULL}"
    raise ValueError(
        f"pixels are {dtype.name} from {least:g} to {most:g}; give the range that holds for all stacks with --values LOW,HIGH"
    )


def _make_linear(low: float, high: float) -> Scale:
    def scale(page: np.ndarray) -> np.ndarray:
        if not np.isfinite(page).all():
            raise ValueError("pixels that are no finite number (NaN or infinite)")
        return np.rint(np.clip((page.astype(np.float64) - low) / (high - low), 0, 1) * FULL).astype(np.uint16)

    return scale
