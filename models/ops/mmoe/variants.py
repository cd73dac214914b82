"""Which way `mmoe_experts` takes its products: from a table of measurements, or by rule where there are none.

The table is `mmoe_variants.json` beside this file, written by `record`: one line a shape, the times of both ways.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch

VARIANTS = ("library", "fused")
TABLE = Path(__file__).with_suffix(".json")
NEAR = 2.0  # a measurement speaks for shapes whose rows, features, hidden and experts differ by this factor together
FEW_ROWS = 128


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Forward and backward of one shape, both ways, on one GPU."""

    device: str  # as torch.cuda.get_device_name says it
    dtype: str  # "bfloat16"
    rows: int
    features: int
    hidden: int
    experts: int
    library_ms: float
    fused_ms: float

    def __post_init__(self) -> None:
        if min(self.rows, self.features, self.hidden, self.experts) < 1 or min(self.library_ms, self.fused_ms) <= 0:
            raise ValueError(f"sizes and times must be positive: {self}; measure again with `tarpon bench ops`")

    def distance(self, sizes: tuple[int, ...]) -> float:
        """Sum of the logarithms of the factors between the sizes."""
        own = (self.rows, self.features, self.hidden, self.experts)
        return sum(abs(math.log(a / b)) for a, b in zip(own, sizes, strict=True))


def choose(*, dtype: torch.dtype, rows: int, features: int, hidden: int, experts: int) -> str:
    """The faster way at the nearest shape measured in this dtype; `rule` if none is near."""
    sizes = (max(rows, 1), features, hidden, experts)
    timings = [t for t in read_table(TABLE) if t.dtype == str(dtype).removeprefix("torch.")]
    best = min(timings, key=lambda t: t.distance(sizes), default=None)
    if best is None or best.distance(sizes) > math.log(NEAR):
        return rule(dtype=dtype, rows=rows)
    return "fused" if best.fused_ms < best.library_ms else "library"


def rule(*, dtype: torch.dtype, rows: int) -> str:
    """What is expected without a measurement.

    Equal groups make the products plain batched ones, at which cuBLAS has no equal: at 4096 rows, D 1024, H 2048, E 4 the
    passes that fusing saves are some 28 of 400 microseconds of an H200, less than cuBLAS's lead over a Triton product that
    takes its left side through registers. With few rows the weights' way from memory rules, not the arithmetic, and one
    launch instead of three wins. float32 stays with cuBLAS, which may use tf32 where the user allows it.
    """
    return "fused" if rows <= FEW_ROWS and dtype.itemsize == 2 else "library"


@cache
def read_table(path: Path) -> tuple[Timing, ...]:
    """ValueError for a table that is not one; no file is an empty table."""
    if not path.exists():
        return ()
    try:
        return tuple(Timing(**row) for row in json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}; delete it or write it anew with `tarpon bench ops`") from error


def record(timings: Iterable[Timing], path: Path = TABLE) -> None:
    """Write the table and use it from now on."""
    path.write_text("[\n" + ",\n".join(json.dumps(asdict(timing)) for timing in timings) + "\n]\n")
    read_table.cache_clear()
