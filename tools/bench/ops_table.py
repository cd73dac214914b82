"""Fills the table that chooses between the ways of an operation (`models/ops/choices.py`) with times of this GPU."""

from collections.abc import Callable, Iterator

import torch

from tarpon.models.ops import OPS
from tarpon.models.ops.choices import WAYS, Choice, TableRow
from tarpon.models.ops.launch import find_limits
from tarpon.models.ops.spec import Shape
from tarpon.models.ops.tcn.tiles import candidates
from tarpon.tools.bench.ops_timing import Ceilings, Row, measure_choices

ORDER = ("temporal_block", "temporal_block_clip", "mmoe_experts", "mmoe")  # experts first: the mixture is timed with theirs


def key_sizes(op: str, shape: Shape) -> tuple[int, ...]:
    """Rows and widths of a shape, as the table has them."""
    return (shape[0] * shape[1], *shape[2:]) if op.startswith("temporal_block") else shape


def ways_to_time(op: str, shape: Shape, dtype: torch.dtype) -> dict[str, Choice]:
    """Name -> candidate."""
    if op.startswith("temporal_block"):
        return dict(candidates(op, shape, dtype, limits=find_limits(torch.device("cuda"))))
    return {way: Choice(way=way) for way in WAYS[op]}


def choose_line(
    op: str, shape: Shape, dtype: torch.dtype, choices: dict[str, Choice], rows: list[Row], *, device: str
) -> TableRow:
    """The fastest of the candidates that ran; ValueError if none did."""
    ms = {row.way: row.ms for row in rows if row.ms is not None}
    if not ms:
        raise ValueError(f"{op} {shape}: no way of it ran; see the errors in its rows")
    name = str(dtype).removeprefix("torch.")
    best = choices[min(ms, key=ms.get)]
    return TableRow(op=op, device=device, dtype=name, sizes=key_sizes(op, shape), choice=best, ms=ms)


def measure_lines(dtype: torch.dtype, *, limits: Ceilings, seconds: float, on_row: Callable[[Row], None]) -> Iterator[TableRow]:
    """A line for each shape of each operation, default shapes first; `on_row` gets every row before."""
    device = torch.cuda.get_device_name()
    for op in ORDER:
        spec = OPS[op]
        for shape in dict.fromkeys((*spec.defaults, *spec.shapes)):
            choices, rows = ways_to_time(op, shape, dtype), []
            for row in measure_choices(spec, shape, choices, dtype=dtype, limits=limits, seconds=seconds):
                on_row(row)
                rows.append(row)
            if any(row.ms is not None for row in rows):
                yield choose_line(op, shape, dtype, choices, rows, device=device)
