"""The way (implementation) of each operation on a GPU: one table of measurements, `choices.json` beside this file.

A row is one operation at one shape: the candidates' times, and the fastest. `tarpon bench ops --write_table` writes it. It
holds for calls of the same dtype and widths whose number of rows is within a factor of `MAX_ROW_FACTOR`; without such a row
the operation's own heuristic decides (`tcn/tiles.py`, `mmoe/tiles.py`).

The way `LIBRARY` is the plain PyTorch reference. On CUDA it is taken only where a row of the table says so.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

LIBRARY = "library"
WAYS = {
    "temporal_block": ("one_pass", "two_pass", "library_products", LIBRARY),
    "temporal_block_clip": ("two_pass", "library_products", LIBRARY),
    "mmoe_experts": ("fused", "library_products"),
    "mmoe": ("kernels", LIBRARY),
}
"""one_pass: one kernel forward. two_pass: our matrix product, then the rest. library_products: the library's matrix products,
our passes around them. fused: norm, activation and dropout inside of our products. kernels: gates, experts and mix by kernels.
"""
FILE = Path(__file__).with_suffix(".json")
MAX_ROW_FACTOR = 2.0


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
        if self.warps not in (1, 2, 4, 8, 16) or self.stages < 1:
            raise ValueError(f"warps={self.warps} of a tile must be 1, 2, 4, 8 or 16 and stages={self.stages} at least 1")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A way, and the tiles of its products by name where they differ from the heuristic's."""

    way: str
    tiles: Mapping[str, Tile] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row of the table."""

    op: str  # of WAYS
    device: str  # as torch.cuda.get_device_name says it
    dtype: str  # "bfloat16"
    sizes: tuple[int, ...]  # rows, then the widths, in the operation's order
    choice: Choice
    ms: Mapping[str, float] = field(default_factory=dict)  # candidate -> forward and backward, replayed as a CUDA graph

    def __post_init__(self) -> None:
        if self.op not in WAYS:
            raise ValueError(f"op={self.op!r} must be one of {', '.join(WAYS)}")
        if self.choice.way not in WAYS[self.op]:
            raise ValueError(f"way={self.choice.way!r} of {self.op} must be one of {', '.join(WAYS[self.op])}")
        if not self.sizes or min(self.sizes) < 1 or any(ms <= 0 for ms in self.ms.values()):
            raise ValueError(f"sizes={self.sizes} and times {dict(self.ms)} must be positive")

    def distance(self, rows: int) -> float:
        """Logarithm of the factor between the numbers of rows."""
        return abs(math.log(self.sizes[0] / max(rows, 1)))


def read_table(path: Path) -> tuple[TableRow, ...]:
    """Rows of a table that `write_table` wrote; none where there is no file. ValueError for anything else."""
    if not path.exists():
        return ()
    try:
        return tuple(_parse_row(**row) for row in json.loads(path.read_text()))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error!r}; delete it or write it anew with `tarpon bench ops --write_table`") from error


def _parse_row(*, way: str, tiles: Mapping[str, dict], sizes: list[int], **rest) -> TableRow:
    choice = Choice(way=way, tiles={name: Tile(**tile) for name, tile in tiles.items()})
    return TableRow(choice=choice, sizes=tuple(sizes), **rest)


TABLE: list[TableRow] = list(read_table(FILE))
FORCED: dict[str, Choice] = {}


def write_table(lines: Iterable[TableRow], path: Path = FILE) -> None:
    """Write a table, one row a shape, and use it from now on."""
    lines = list(lines)
    rows = []
    for line in lines:
        fields = asdict(line)
        choice = fields.pop("choice")
        rows.append(fields | choice)
    path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    TABLE[:] = lines


def find_choice(op: str, *, sizes: tuple[int, ...], dtype: torch.dtype, device: str) -> Choice | None:
    """The table's choice for a call; None where it has no row near enough.

    Args:
        sizes: rows, then the widths, as in `TableRow`.
        device: name of the GPU; its rows are preferred to those of others.
    """
    if op in FORCED:
        return FORCED[op]
    name = str(dtype).removeprefix("torch.")
    near = [
        line
        for line in TABLE
        if (line.op, line.dtype, line.sizes[1:]) == (op, name, sizes[1:])
        and line.distance(sizes[0]) <= math.log(MAX_ROW_FACTOR)
    ]
    best = min(near, key=lambda line: (line.device != device, line.distance(sizes[0])), default=None)
    return None if best is None else best.choice


@contextmanager
def force_choice(op: str, choice: Choice) -> Iterator[None]:
    """A context in which each call of an operation takes this choice, for tests and timing; run the backward in it too."""
    if choice.way not in WAYS[op]:
        raise ValueError(f"way={choice.way!r} of {op} must be one of {', '.join(WAYS[op])}")
    before = FORCED.get(op)
    FORCED[op] = choice
    try:
        yield
    finally:
        del FORCED[op]
        if before is not None:
            FORCED[op] = before
