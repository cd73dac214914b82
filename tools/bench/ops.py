"""`tarpon bench ops`: fused operations beside plain and compiled PyTorch, and how near each is to the machine's limits.

Needs PyTorch and Triton alone. Other programs call `check` (of `ops_check`) and `measure` (of `ops_timing`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from json import dumps
from pathlib import Path

import torch

from tarpon.models.ops import OPS, choices
from tarpon.models.ops.launch import INTERPRETED
from tarpon.models.ops.spec import OpSpec, Shape
from tarpon.shards import atomic
from tarpon.tools.bench import results
from tarpon.tools.bench.ops_check import Check, check
from tarpon.tools.bench.ops_table import measure_lines
from tarpon.tools.bench.ops_timing import EAGER, FUSED, PARTS, Ceilings, Row, ceilings, measure
from tarpon.tools.table import table

__all__ = ["ceilings", "check", "measure", "run"]

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
SHAPES = ("auto", "all", "default", "small")
ORDER = ("temporal_block", "mmoe", "temporal_block_clip", "mmoe_experts", "mmoe_gates", "mmoe_mix")  # aims first
LIBRARY_WAYS = (EAGER, "published")  # what fused must not be slower than


@dataclass(kw_only=True)
class ResultsLog:
    """The results so far: line by line on the terminal and in a log, and as a JSON file that is whole after every row."""

    path: Path | None
    where: dict[str, object]
    limits: Ceilings | None = None
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    candidates: list[Row] = field(default_factory=list)  # of the table

    def say(self, line: str) -> None:
        print(line, flush=True)
        if self.path:
            with self.log.open("a") as log:
                log.write(line + "\n")

    @property
    def log(self) -> Path:
        return self.path.with_suffix(".log")

    def save(self) -> None:
        if self.path:
            lists = {name: [asdict(row) for row in getattr(self, name)] for name in ("rows", "checks", "candidates")}
            limits = self.limits and asdict(self.limits)
            content = {"machine": self.where, "ceilings": limits, "ratios": compute_ratios(self.rows), **lists}
            atomic.write_text(self.path, dumps(content, indent=1) + "\n")

    def add(self, row: Row | Check, *, to: str = "rows") -> None:
        getattr(self, to).append(row)
        self.say(describe_check(row) if isinstance(row, Check) else describe_row(row))
        self.save()


def run(
    *,
    op: str | None = None,
    shapes: str = "auto",
    dtype: str = "auto",
    compile: bool = True,
    seconds: float = 600.0,
    seconds_a_figure: float = 0.1,
    correct: bool = False,
    write_table: bool = False,
    json: str | None = None,
) -> int:
    """Time fused operations, forward and forward with backward, against plain PyTorch and torch.compile.

    Args:
        op: one operation alone.
        shapes: all of them, default for those that the aims are about, or small; auto: all on a GPU, default on a CPU.
        dtype: bf16, fp16 or fp32; auto: bf16 on a GPU, fp32 on a CPU.
        compile: also what torch.compile makes of the plain ways.
        seconds: for all of it; when they are over it stops, and what was found is kept.
        seconds_a_figure: that the calls of each figure take together.
        correct: first compare every operation with float64.
        write_table: on a GPU, let what is measured choose between the ways of an operation from now on.
        json: file for all figures, written anew after each; the lines printed go to the same name with .log.

    Returns:
        0, and 1 where something was not equal to float64; a missed aim is printed and changes nothing.
    """
    gpu = torch.cuda.is_available()
    check_options(op=op, shapes=shapes, dtype=dtype, seconds=min(seconds, seconds_a_figure), write_table=write_table, gpu=gpu)
    end, device = time.monotonic() + seconds, "cuda" if gpu else "cpu"
    kind = DTYPES[("bf16" if gpu else "fp32") if dtype == "auto" else dtype]
    where = results.describe_machine(gpu=torch.cuda.get_device_name() if gpu else None)
    where |= {"dtype": str(kind).removeprefix("torch.")}
    journal = ResultsLog(path=Path(json) if json else None, where=where)
    if journal.path:
        journal.path.parent.mkdir(parents=True, exist_ok=True)
        journal.log.unlink(missing_ok=True)
    if not gpu:
        fused = "Triton's interpreter" if INTERPRETED else "the plain one"
        journal.say(f"no CUDA GPU: these are CPU paths, and fused is {fused}; the kernels' speed is not measured here")
    names = [op] if op else [name for name in ORDER if name in OPS] + [name for name in OPS if name not in ORDER]
    work = [check_all(journal, device=device, names=names)] if correct else []
    if shapes == "auto":
        shapes = "all" if gpu else "default"
    options = {"dtype": kind, "device": device, "seconds": seconds_a_figure}
    work.append(time_all(journal, list_shapes(names, which=shapes), compiled=compile, **options))
    if write_table:
        work.append(fill_table(journal, dtype=kind, seconds=seconds_a_figure))
    finished = all(take_until(steps, end=end) for steps in work)
    if not finished:
        journal.say(f"stopped after {seconds:.0f} s: {len(journal.checks)} checks and {len(journal.rows)} figures are kept")
    for line in (*show_table(journal.rows), *verdicts(journal.rows, [OPS[name] for name in names], gpu=gpu)):
        journal.say(line)
    return 0 if all(row.ok for row in journal.checks) else 1


def check_options(*, op: str | None, shapes: str, dtype: str, seconds: float, write_table: bool, gpu: bool) -> None:
    """Raises ValueError for what `run` cannot do."""
    if op and op not in OPS:
        raise ValueError(f"op={op!r} must be one of {', '.join(OPS)}")
    if shapes not in SHAPES:
        raise ValueError(f"shapes={shapes!r} must be {', '.join(SHAPES)}")
    if dtype != "auto" and dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be auto, {', '.join(DTYPES)}")
    if seconds <= 0:
        raise ValueError(f"seconds and seconds_a_figure must be above 0; got {seconds}")
    if write_table and not gpu:
        raise ValueError("write_table=true needs an NVIDIA GPU: its table chooses between ways on that GPU")


def take_until(steps: Iterator[object], *, end: float) -> bool:
    """Go on to the next step while there is time; returns whether all steps were made."""
    while time.monotonic() < end:
        if next(steps, None) is None:
            return True
    return False


def list_shapes(names: Sequence[str], *, which: str) -> list[tuple[OpSpec, Shape]]:
    """Default shapes of all operations before the other shapes of any."""
    specs = [OPS[name] for name in names]
    if which == "small":
        return [(spec, spec.small_shapes[min(1, len(spec.small_shapes) - 1)]) for spec in specs]
    found = [(spec, shape) for spec in specs for shape in spec.defaults]
    others = [(spec, shape) for spec in specs for shape in spec.shapes if shape not in spec.defaults]
    return found + (others if which == "all" else [])


def check_all(journal: ResultsLog, *, device: str, names: Sequence[str]) -> Iterator[Check]:
    for row in check(device, ops=names):
        journal.add(row, to="checks")
        yield row


def time_all(
    journal: ResultsLog,
    shapes: Sequence[tuple[OpSpec, Shape]],
    *,
    dtype: torch.dtype,
    device: str,
    compiled: bool,
    seconds: float,
) -> Iterator[Row]:
    """The ceilings, then every way at every shape; stops after an error that no later call survives."""
    journal.limits = limits = measure_ceilings(journal, dtype, device=device)
    for spec, shape in shapes:
        options = {"dtype": dtype, "device": device, "limits": limits, "compiled": compiled, "seconds": seconds}
        for row in measure(spec, shape, **options):
            journal.add(row)
            yield row
            if row.fatal:
                return


def measure_ceilings(journal: ResultsLog, dtype: torch.dtype, *, device: str) -> Ceilings:
    limits = ceilings(dtype, device=device)
    copy, product = limits.bytes_per_s / 1e9, limits.operations_per_s / 1e12
    journal.say(f"ceilings measured here: copy {copy:.0f} GB/s, matrix product {product:.2f} T operations/s")
    return limits


def fill_table(journal: ResultsLog, *, dtype: torch.dtype, seconds: float) -> Iterator[object]:
    """Lines of this GPU replace older ones of the same shape; the file is whole after each."""
    limits = journal.limits or measure_ceilings(journal, dtype, device="cuda")
    on_row: Callable[[Row], None] = lambda row: journal.add(row, to="candidates")  # noqa: E731
    for line in measure_lines(dtype, limits=limits, seconds=seconds, on_row=on_row):
        key = (line.op, line.device, line.dtype, line.sizes)
        kept = [old for old in choices.TABLE if (old.op, old.device, old.dtype, old.sizes) != key]
        choices.write_table([*kept, line])
        journal.say(f"table: {line.op} {line.sizes} takes {line.choice.way}")
        yield line


def describe_check(row: Check) -> str:
    name = f"{row.op} {'x'.join(map(str, row.shape))} {row.dtype} {row.way}"
    if row.error:
        return f"check {name}: FAILED {row.error}"
    return f"check {name} {row.name}: {row.discrepancy:.2g} of {row.tolerance:.2g} {'ok' if row.ok else 'WRONG'}"


def describe_row(row: Row) -> str:
    sizes = ", ".join(f"{letter} {size}" for letter, size in zip(row.letters, row.shape, strict=True))
    figures = [f"{name} {ms:.4f} ms" for name, ms in (("host", row.host_ms), ("graph", row.graph_ms)) if ms is not None]
    ceiling = f", ceiling {row.ceiling_ms:.4f} ms" + (f" ({row.ceiling_ms / row.ms:.0%})" if row.ms else "")
    return f"{row.op} {sizes} {row.way} {row.part}: {', '.join(figures)}{ceiling}{f', FAILED {row.error}' * bool(row.error)}"


def index_times(rows: Sequence[Row]) -> dict[tuple[str, Shape, str], float]:
    """(operation, shape, way) -> milliseconds of forward and backward, a graph's where there is one."""
    return {(row.op, row.shape, row.way): row.ms for row in rows if row.part == PARTS[1] and row.ms is not None}


def compute_ratios(rows: Sequence[Row]) -> dict[str, float]:
    """How much faster the fused operation is, forward and backward together, at every shape."""
    times = index_times(rows)
    return {
        f"{op} {'x'.join(map(str, shape))} fused_over_{way}": ms / times[op, shape, FUSED]
        for (op, shape, way), ms in times.items()
        if way != FUSED and (op, shape, FUSED) in times
    }


def verdicts(rows: Sequence[Row], specs: Sequence[OpSpec], *, gpu: bool) -> Iterator[str]:
    """Every operation's aims, and every shape at which fused is slower than the library; on a GPU only."""
    if not gpu:
        return
    times = index_times(rows)
    for spec in specs:
        for shape, aims in spec.aims.items():
            name = f"{spec.name} {shape}, forward and backward, graph-replayed"
            for way, aim in aims.items():
                if (spec.name, shape, way) in times and (spec.name, shape, FUSED) in times:
                    ratio = times[spec.name, shape, way] / times[spec.name, shape, FUSED]
                    yield f"{name}: {ratio:.2f} x {way}, the aim is {aim:g}: {'met' if ratio >= aim else 'MISSED'}"
                else:
                    yield f"{name}: the aim of {aim:g} x {way} was not measured"
    for (op, shape, way), ms in times.items():
        if way in LIBRARY_WAYS and (op, shape, FUSED) in times and times[op, shape, FUSED] > ms:
            yield f"{op} {shape}: fused is slower than {way}; --write_table gives this shape the library's way if it still is"


def show_table(rows: Sequence[Row]) -> Iterator[str]:
    """Forward and backward of all ways, one line a shape and way."""
    times = index_times(rows)
    cells = [
        (op, "x".join(map(str, shape)), way, f"{ms:.4f}", f"{times[op, shape, EAGER] / ms:.2f}")
        for (op, shape, way), ms in times.items()
        if (op, shape, EAGER) in times
    ]
    yield from table(("operation", "shape", "way", "ms", "x eager"), cells)
