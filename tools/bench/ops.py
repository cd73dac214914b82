"""`tarpon bench ops`: fused operations beside plain and compiled PyTorch, and how near each is to the machine's limits."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from tarpon.models.ops import OPS, tiles
from tarpon.models.ops.mmoe import variants as mmoe_variants
from tarpon.models.ops.spec import OpSpec, Shape
from tarpon.shards.json_file import write_json
from tarpon.tools.bench import results as bench
from tarpon.tools.table import table

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
EAGER, COMPILED, FUSED = "eager", "compiled", "fused"
BLOCKS = ("temporal_block", "temporal_block_clip")  # operations whose variants and tiles stand in one table
PASSES = ("forward", "both")  # both: forward and backward
OVER_EAGER, OVER_COMPILED = 2.0, 1.2  # aims of fused, forward and backward, at an operation's default shapes on a GPU
COPY_MIB, SQUARE = 1024, 8192  # what the ceilings are measured with on a GPU; a CPU gets a sixteenth and an eighth
LEAST = 5  # calls a figure is the median of


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What this machine reaches at best, measured."""

    bytes_per_s: float  # read and written by a copy
    operations_per_s: float  # multiplications and additions of a square matrix product in the dtype


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way of doing one operation at one shape."""

    op: str
    shape: Shape
    letters: str
    way: str
    part: str  # of PASSES
    ms: float  # median
    bytes_moved: int
    operations: int
    of_copy: float  # share of the ceiling that the bytes alone would reach in this time
    of_product: float  # and the operations


def run(
    *,
    op: str | None = None,
    shapes: str = "auto",
    dtype: str = "auto",
    compile: bool = True,
    seconds: float = 0.3,
    write_table: bool = False,
    json: str | None = None,
) -> int:
    """Time fused operations, forward and forward with backward, against plain PyTorch and torch.compile.

    Args:
        op: one operation alone.
        shapes: all of them, or default for those that the aims are about; auto: all on a GPU, default on a CPU.
        dtype: bf16, fp16 or fp32; auto: bf16 on a GPU, fp32 on a CPU.
        compile: also what torch.compile makes of the plain one.
        seconds: that each figure's calls take together.
        write_table: on a GPU, let what was measured choose between ways of one operation from now on.
        json: file for all figures.

    Returns:
        0; figures are figures, and a missed aim is said.
    """
    gpu = torch.cuda.is_available()
    chosen = {op: OPS.get(op)} if op else OPS
    if None in chosen.values():
        raise ValueError(f"op={op!r} must be one of {', '.join(OPS)}")
    if shapes not in ("auto", "all", "default"):
        raise ValueError(f"shapes={shapes!r} must be auto, all or default")
    if dtype != "auto" and dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be auto, {', '.join(DTYPES)}")
    if seconds <= 0:
        raise ValueError(f"seconds={seconds} must be above 0")
    if write_table and not gpu:
        raise ValueError("write_table=true needs an NVIDIA GPU: its table chooses between ways on that GPU")
    kind = DTYPES[("bf16" if gpu else "fp32") if dtype == "auto" else dtype]
    whole = shapes == "all" or (shapes == "auto" and gpu)
    where = bench.machine(gpu=torch.cuda.get_device_name() if gpu else None) | {"dtype": str(kind).removeprefix("torch.")}
    if not gpu:
        print("no CUDA GPU: these are the CPU paths, and fused is the plain one; the kernels' speed is not measured here")
    limits = ceilings(kind, device="cuda" if gpu else "cpu")
    print(f"copy {limits.bytes_per_s / 1e9:.0f} GB/s, matrix product {limits.operations_per_s / 1e12:.2f} T operations/s")
    rows = []
    for spec in chosen.values():
        for shape in spec.shapes if whole else spec.defaults:
            rows += measured(spec, shape, dtype=kind, limits=limits, compiled=compile, seconds=seconds)
            print(
                "\n".join(shown(rows[-1].op, shape, [row for row in rows if (row.op, row.shape) == (spec.name, shape)])),
                flush=True,
            )
    print("\n".join(verdicts(rows, chosen.values(), gpu=gpu)))
    if json:
        told = {"machine": where, "ceilings": asdict(limits), "ratios": ratios(rows), "rows": [asdict(row) for row in rows]}
        write_json(Path(json), told)
    if write_table:
        record_variants(kind, seconds=seconds)
    return 0


def ratios(rows: Sequence[Row]) -> dict[str, float]:
    """How much faster the fused operation is, forward and backward together, at every shape."""
    times = {(row.op, row.shape, row.way): row.ms for row in rows if row.part == "both"}
    return {
        f"{name} {'x'.join(map(str, shape))} fused_over_{way}": times[name, shape, way] / ms
        for (name, shape, done), ms in times.items()
        for way in (EAGER, COMPILED)
        if done == FUSED and (name, shape, way) in times
    }


def record_variants(dtype: torch.dtype, *, seconds: float) -> None:
    """Time the ways that an operation can be done at every shape, and write the tables that choose between them from now on."""
    record_experts(dtype, seconds=seconds)
    ms: dict[tiles.Key, dict[str, float]] = {}  # of all shapes of a key together
    ways: dict[tiles.Key, dict[str, tiles.Tiles]] = {}
    for op in BLOCKS:
        for shape in OPS[op].shapes:
            key = (op, *shape[2:], dtype)
            ways[key] = tiles.candidates(op, shape, dtype)
            own = ms.setdefault(key, dict.fromkeys(ways[key], 0.0))
            for way, chosen in ways[key].items():
                tiles.TABLE[key] = chosen
                own[way] += both_ms(OPS[op], shape, OPS[op].fused, dtype=dtype, seconds=seconds)
    tiles.record({key: ways[key][min(own, key=own.get)] for key, own in ms.items()})


def record_experts(dtype: torch.dtype, *, seconds: float) -> None:
    device, spec, timings = torch.cuda.get_device_name(), OPS["mmoe_experts"], []
    for shape in spec.shapes:
        ms = {
            f"{way}_ms": both_ms(spec, shape, partial(spec.fused, variant=way), dtype=dtype, seconds=seconds)
            for way in mmoe_variants.VARIANTS
        }
        sizes = dict(zip(("rows", "features", "hidden", "experts"), shape, strict=True))
        timings.append(mmoe_variants.Timing(device=device, dtype=str(dtype).removeprefix("torch."), **sizes, **ms))
    mmoe_variants.record(timings)


def both_ms(spec: OpSpec, shape: Shape, call: Callable, *, dtype: torch.dtype, seconds: float) -> float:
    """Milliseconds of forward and backward on the GPU."""
    given = spec.inputs(shape, dtype=dtype, device="cuda", seed=0)
    wanted = [value for value in given.values() if isinstance(value, Tensor) and value.requires_grad]
    return median_ms(steps(call, given, wanted, backward=True), device="cuda", seconds=seconds)


def measured(
    spec: OpSpec, shape: Shape, *, dtype: torch.dtype, limits: Ceilings, compiled: bool, seconds: float
) -> Iterator[Row]:
    """All ways of one operation at one shape."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ways: dict[str, Callable] = {EAGER: spec.reference}
    if compiled:
        torch.compiler.reset()
        ways[COMPILED] = torch.compile(spec.reference, dynamic=False)
    ways |= {FUSED: spec.fused, **spec.rivals}
    given = spec.inputs(shape, dtype=dtype, device=device, seed=0)
    wanted = [value for value in given.values() if isinstance(value, Tensor) and value.requires_grad]
    for way, call in ways.items():
        for part in PASSES:
            both = part == "both"
            ms = median_ms(steps(call, given, wanted, backward=both), device=device, seconds=seconds)
            moved = spec.moved_bytes(shape, dtype) + (spec.moved_bytes(shape, dtype, backward=True) if both else 0)
            operations = spec.operations(shape) + (spec.operations(shape, backward=True) if both else 0)
            yield Row(
                op=spec.name,
                shape=shape,
                letters=spec.letters,
                way=way,
                part=part,
                ms=ms,
                bytes_moved=moved,
                operations=operations,
                of_copy=moved / (ms / 1e3) / limits.bytes_per_s,
                of_product=operations / (ms / 1e3) / limits.operations_per_s,
            )


def steps(call: Callable, given: dict, wanted: Sequence[Tensor], *, backward: bool) -> Callable[[], object]:
    """One forward, or one forward and backward into gradients of all inputs that want them."""

    def forward() -> object:
        with torch.no_grad():
            return call(**given)

    def both() -> object:
        out = call(**given)
        outs = [value for value in (out if isinstance(out, tuple) else (out,)) if value.requires_grad]
        return torch.autograd.grad(outs, wanted, [torch.ones_like(value) for value in outs], allow_unused=True)

    return both if backward else forward


def median_ms(step: Callable[[], object], *, device: str, seconds: float) -> float:
    """Milliseconds of one call: the median of as many as fit into `seconds`, after two that are not counted."""
    for _ in range(2):
        step()
    spent, end = [], time.perf_counter() + seconds
    while len(spent) < LEAST or time.perf_counter() < end:
        spent.append(timed(step, device=device))
    return statistics.median(spent)


def timed(step: Callable[[], object], *, device: str) -> float:
    """Milliseconds of one call, on the device's own clock where it has one."""
    if device == "cpu":
        begun = time.perf_counter()
        step()
        return 1e3 * (time.perf_counter() - begun)
    begin, done = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    step()
    done.record()
    done.synchronize()
    return begin.elapsed_time(done)


def ceilings(dtype: torch.dtype, *, device: str) -> Ceilings:
    """Measure them: a copy of memory far larger than any cache, and a large square product."""
    small = device == "cpu"
    values = torch.empty(COPY_MIB * 2**20 // (16 if small else 1), dtype=torch.uint8, device=device)
    other = torch.empty_like(values)
    copy_ms = median_ms(lambda: other.copy_(values), device=device, seconds=0.5)
    side = SQUARE // (8 if small else 1)
    square = torch.randn(side, side, device=device).to(dtype)
    product_ms = median_ms(lambda: square @ square, device=device, seconds=0.5)
    return Ceilings(bytes_per_s=2 * values.numel() / (copy_ms / 1e3), operations_per_s=2 * side**3 / (product_ms / 1e3))


def shown(op: str, shape: Shape, rows: Sequence[Row]) -> Iterator[str]:
    """The table of one operation at one shape."""
    sizes = ", ".join(f"{letter} {size}" for letter, size in zip(rows[0].letters, shape, strict=True))
    yield f"\n{op}: {sizes}"
    eager = {row.part: row.ms for row in rows if row.way == EAGER}
    yield from table(
        ("way", "pass", "ms", "x eager", "% of copy", "% of product"),
        [
            (
                row.way,
                "forward" if row.part == "forward" else "forward + backward",
                f"{row.ms:.3f}",
                f"{eager[row.part] / row.ms:.2f}",
                f"{100 * row.of_copy:.0f}",
                f"{100 * row.of_product:.0f}",
            )
            for row in rows
        ],
    )


def verdicts(rows: Sequence[Row], specs: Sequence[OpSpec], *, gpu: bool) -> Iterator[str]:
    """The aims at the default shapes, and every shape at which fused is slower than eager; on a GPU only."""
    if not gpu:
        return
    times = {(row.op, row.shape, row.way): row.ms for row in rows if row.part == "both"}
    for spec in specs:
        for shape, (way, aim) in product(spec.defaults, ((EAGER, OVER_EAGER), (COMPILED, OVER_COMPILED))):
            if (spec.name, shape, way) in times:
                ratio = times[spec.name, shape, way] / times[spec.name, shape, FUSED]
                told = "met" if ratio >= aim else "MISSED"
                yield f"{spec.name} {shape}: {ratio:.2f} x {way}, the aim is {aim:g}: {told}"
    for name, shape, way in times:
        if way == FUSED and times[name, shape, FUSED] > times[name, shape, EAGER]:
            yield f"{name} {shape}: fused is slower than eager; this shape should take the library's way"
