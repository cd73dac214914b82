"""Which way an operation takes on a GPU, and in tiles of what size: measured where `TABLE` has it, reasoned where it has not.

The reasoning is for an H200: 132 multiprocessors, 227 KB of shared memory a program, tensor cores that want 64 rows. A
program's stages of two tiles must fit the memory, its sums (rows * columns float32 over 32 * warps threads) the registers.
"""

from dataclasses import dataclass

import torch

from tarpon.models.ops.launch import next_power

VARIANTS = ("one_pass", "two_pass", "library")
PROCESSORS = 132
ONE_PASS_COLUMNS = 256  # all channels of a row in one program: 128 KB of tiles and 64 registers a thread of sums at this width
ROW_VALUES = 4096  # values of a program that works on whole rows


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One program of a matrix product: `rows` x `columns` of the result, in steps of `depth`."""

    rows: int
    columns: int
    depth: int = 64
    warps: int = 4
    stages: int = 3  # steps in flight

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "depth"):
            size = getattr(self, name)
            if size < 16 or size & (size - 1):
                raise ValueError(f"{name}={size} of a tile must be a power of 2 of at least 16")


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How one operation is done.

    Variants: "one_pass" (one kernel forward; `forward.columns` is not read: a program has whole rows), "two_pass" (our matrix
    product, then the rest), "library" (the library's matrix products, then the rest, forward and backward).
    """

    variant: str
    forward: Tile
    input_gradient: Tile
    weight_gradient: Tile

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant={self.variant!r} must be one of {', '.join(VARIANTS)}")


TABLE: dict[tuple[str, int, int, torch.dtype], Tiles] = {}
"""(operation, C, H, dtype) -> what the benchmark found fastest; it puts its candidates here too."""


def tiles(op: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tiles:
    """Args: op, a name in OPS; shape (B, T, C, H); dtype of the values that are multiplied."""
    batch, frames, channels, hidden = shape
    found = TABLE.get((op, channels, hidden, dtype))
    return found or reasoned(batch * frames, hidden, dtype, whole_rows=op == "temporal_block")


def reasoned(rows: int, hidden: int, dtype: torch.dtype, *, whole_rows: bool) -> Tiles:
    """The safe choice. whole_rows: whether a row's channels are all that its norm needs."""
    many = rows * hidden >= 2 * PROCESSORS * 128 * 128
    product = Tile(rows=128, columns=128, warps=8) if many else Tile(rows=64, columns=64)
    if dtype == torch.float32:  # no tensor core multiplies it exactly, and the library's own loops are the better ones
        variant, forward = "library", product
    elif whole_rows and next_power(hidden) <= ONE_PASS_COLUMNS:
        few = rows < PROCESSORS * 64
        variant = "one_pass"
        forward = Tile(rows=32 if few else 64, columns=64, warps=8 if next_power(hidden) > 64 else 4)
    else:
        variant, forward = "two_pass", product
    return Tiles(variant=variant, forward=forward, input_gradient=product, weight_gradient=Tile(rows=64, columns=128))


def row_tile(hidden: int) -> tuple[int, int]:
    """(rows, columns) of a program that works on whole rows of `hidden` values."""
    columns = max(next_power(hidden), 16)
    return max(ROW_VALUES // columns, 1), columns
