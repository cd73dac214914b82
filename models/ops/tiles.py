"""Which way an operation takes on a GPU, and in tiles of what size: measured where `TABLE` has it, reasoned where it has not.

The reasoning is for an H200: 132 multiprocessors, 227 KB of shared memory a program, tensor cores that want 64 rows. A
program's stages of two tiles must fit the memory, its sums (rows * columns float32 over 32 * warps threads) the registers.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from tarpon.models.ops.launch import next_power

PRODUCTS = ("forward", "input_gradient", "weight_gradient")
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


Key = tuple[str, int, int, torch.dtype]  # operation, C, H, dtype
FILE = Path(__file__).with_suffix(".json")


def read_table(path: Path) -> dict[Key, Tiles]:
    """What `record` wrote; no file is an empty table. ValueError for anything else."""
    if not path.exists():
        return {}
    try:
        rows = json.loads(path.read_text())
        return {
            (row["op"], row["channels"], row["hidden"], getattr(torch, row["dtype"])): Tiles(
                variant=row["variant"], **{name: Tile(**row[name]) for name in PRODUCTS}
            )
            for row in rows
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error!r}; delete it or write it anew with `tarpon bench ops --write_table`") from error


TABLE: dict[Key, Tiles] = read_table(FILE)
"""What the benchmark found fastest; it puts its candidates here too."""


def record(found: Mapping[Key, Tiles], path: Path = FILE) -> None:
    """Write a table, one line a key, and use it from now on."""
    rows = [
        {"op": op, "channels": channels, "hidden": hidden, "dtype": str(dtype).removeprefix("torch."), **asdict(chosen)}
        for (op, channels, hidden, dtype), chosen in found.items()
    ]
    path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    TABLE.clear()
    TABLE.update(found)


def candidates(op: str, shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Tiles]:
    """Every variant that can do a shape (B, T, C, H), with the reasoned tiles: what there is to measure."""
    batch, frames, _, hidden = shape
    safe = reasoned(batch * frames, hidden, dtype, whole_rows=op == "temporal_block")
    whole = op == "temporal_block" and next_power(hidden) <= ONE_PASS_COLUMNS
    there = [name for name in VARIANTS if name != "one_pass" or whole]
    tall = Tile(rows=64, columns=64, warps=8 if next_power(hidden) > 64 else 4)  # of a program with whole rows
    return {
        name: replace(safe, variant=name, forward=tall if name == "one_pass" and safe.variant != name else safe.forward)
        for name in there
    }


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
