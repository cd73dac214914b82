"""Bits of a camera, which are fewer than those of the numbers its pixels are stored in."""

DEPTHS = (8, 10, 12, 14, 16)


def find_depth(greatest: int) -> int:
    """The bits of a camera whose brightest pixel has this level: 12 for 4095 in a file of 16 bits."""
    return next(depth for depth in DEPTHS if greatest < 2**depth)
