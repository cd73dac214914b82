"""How fused operations are timed: every way of one operation at one shape, beside what the machine reaches at best.

Needs PyTorch and Triton alone. On a GPU every figure is there twice: `host_ms`, calls as a program makes them, and
`graph_ms`, the same call replayed as a CUDA graph, without the host's part: small shapes are bound by the host. Both are
medians of `triton.testing.do_bench`, which clears the L2 cache before each call. A fused operation is given its seed of
dropout, so that each replay drops the same values; PyTorch's own dropout draws anew.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from triton.errors import TritonError

from tarpon.models.ops.choices import Choice, force_choice
from tarpon.models.ops.spec import Baseline, OpSpec, Shape

EAGER, COMPILED, FUSED = "eager", "compiled", "fused"
PARTS = ("forward", "forward_backward")
COPY_MIB, SQUARE = 1024, 8192  # what the ceilings are measured with on a GPU; a CPU gets a sixteenth and an eighth
LEAST = 3  # calls that a figure on a CPU is the median of
FAILURES = (RuntimeError, TritonError)  # out of memory, a kernel or a compiler that refuses: the other figures must not be lost


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
    dtype: str
    way: str  # eager | compiled | fused | published | published_compiled | a candidate of the table
    part: str  # of PARTS
    host_ms: float | None  # median; None where it failed
    graph_ms: float | None  # None without a GPU, or where it failed
    ceiling_ms: float  # no way can be faster: the larger of the bytes at the copy's speed and the operations at the product's
    error: str = ""  # the first line of what went wrong

    @property
    def ms(self) -> float | None:
        """The figure to judge by: the graph's, where there is one."""
        return self.host_ms if self.graph_ms is None else self.graph_ms

    @property
    def fatal(self) -> bool:
        """An error after which the GPU answers nothing more to this process."""
        return "CUDA error" in self.error and "out of memory" not in self.error


def measure(
    spec: OpSpec,
    shape: Shape,
    *,
    dtype: torch.dtype,
    device: str,
    limits: Ceilings,
    compiled: bool = True,
    plain: bool = True,
    seconds: float = 0.1,
) -> Iterator[Row]:
    """Time all ways of one operation at one shape, a row at a time: fused, eager, its rivals, then the compiled ones.

    Args:
        device: "cuda" | "cpu".
        compiled: also what torch.compile makes of the eager way and of the rivals.
        plain: False leaves out all that is not compiled.
        seconds: that the calls of each figure take together; compiling and warming up come on top.
    """
    given = spec.inputs(shape, dtype=dtype, device=device, seed=0)
    unseeded = given | ({"seed": None} if "seed" in given else {})  # PyTorch's own dropout
    rivals = {EAGER: Baseline.of(spec.reference, unseeded)} | {name: make(unseeded) for name, make in spec.baselines.items()}
    ways = {FUSED: Baseline.of(spec.fused, given), **rivals} if plain else {}
    if compiled:
        torch.compiler.reset()
        names = {EAGER: COMPILED} | {name: f"{name}_compiled" for name in spec.baselines}
        ways |= {names[way]: compile_rival(rival) for way, rival in rivals.items()}
    options = {"dtype": dtype, "device": device, "limits": limits, "seconds": seconds}
    for way, rival in ways.items():
        for part in PARTS:
            row = time_way(spec, shape, way, rival, part=part, **options)
            yield row
            if row.fatal:
                return


def measure_choices(
    spec: OpSpec, shape: Shape, choices: Mapping[str, Choice], *, dtype: torch.dtype, limits: Ceilings, seconds: float = 0.1
) -> Iterator[Row]:
    """Forward and backward of each candidate of the table, on the GPU; the way "library" with PyTorch's own dropout."""
    given = spec.inputs(shape, dtype=dtype, device="cuda", seed=0)
    for name, choice in choices.items():
        plain = choice.way == "library" and "seed" in given
        rival = Baseline.of(spec.fused, given | ({"seed": None} if plain else {}))
        with force_choice(spec.name, choice):
            yield time_way(spec, shape, name, rival, part=PARTS[1], dtype=dtype, device="cuda", limits=limits, seconds=seconds)


def compile_rival(rival: Baseline) -> Baseline:
    return Baseline(function=torch.compile(rival.function, dynamic=False), arguments=rival.arguments, leaves=rival.leaves)


def time_way(
    spec: OpSpec,
    shape: Shape,
    way: str,
    rival: Baseline,
    *,
    part: str,
    dtype: torch.dtype,
    device: str,
    limits: Ceilings,
    seconds: float,
) -> Row:
    """Time one way; an error becomes part of its row."""
    backward = part == PARTS[1]
    moved = spec.moved_bytes(shape, dtype) + (spec.moved_bytes(shape, dtype, backward=True) if backward else 0)
    operations = spec.operations(shape) + (spec.operations(shape, backward=True) if backward else 0)
    host = graph = None
    error = ""
    try:
        step = make_step(rival, backward=backward)
        host = host_ms(step, device=device, seconds=seconds)
        graph = graph_ms(step, seconds=seconds) if device == "cuda" else None
    except FAILURES as failure:
        error = f"{type(failure).__name__}: {str(failure).strip().partition(chr(10))[0][:300]}"
    return Row(
        op=spec.name,
        shape=shape,
        letters=spec.letters,
        dtype=str(dtype).removeprefix("torch."),
        way=way,
        part=part,
        host_ms=host,
        graph_ms=graph,
        ceiling_ms=1e3 * max(moved / limits.bytes_per_s, operations / limits.operations_per_s),
        error=error,
    )


def make_step(rival: Baseline, *, backward: bool) -> Callable[[], object]:
    """One forward, or one forward and backward into gradients of all inputs that want them."""
    slopes: list[Tensor] = []  # of the outputs: made once, as they are no part of the operation

    def run_forward() -> object:
        with torch.no_grad():
            return rival.function(**rival.arguments)

    def run_both() -> object:
        out = rival.function(**rival.arguments)
        outs = [value for value in (out if isinstance(out, tuple) else (out,)) if value.requires_grad]
        if not slopes:
            slopes.extend(torch.ones_like(value) for value in outs)
        return torch.autograd.grad(outs, rival.leaves, slopes, allow_unused=True)

    return run_both if backward else run_forward


def host_ms(step: Callable[[], object], *, device: str, seconds: float) -> float:
    """Milliseconds of one call as a program makes it: the median of as many as fit into `seconds`."""
    if device == "cuda":
        from triton.testing import do_bench

        return do_bench(step, warmup=max(1, int(250 * seconds)), rep=max(1, int(1e3 * seconds)), return_mode="median")
    step()
    spent, end = [], time.perf_counter() + seconds
    while len(spent) < LEAST or time.perf_counter() < end:
        begun = time.perf_counter()
        step()
        spent.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(spent)


def graph_ms(step: Callable[[], object], *, seconds: float) -> float:
    """Milliseconds of one call, captured as a CUDA graph and replayed."""
    graph = capture(step)
    try:
        return host_ms(graph.replay, device="cuda", seconds=seconds)
    finally:
        torch.cuda.synchronize()
        graph.reset()


def capture(step: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """A step as a graph, after two calls on a side stream: whatever is compiled or allocated once is so before."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph


def ceilings(dtype: torch.dtype, *, device: str) -> Ceilings:
    """Measure them: a copy of memory far larger than any cache, and a large square product."""
    small = device == "cpu"
    values = torch.empty(COPY_MIB * 2**20 // (16 if small else 1), dtype=torch.uint8, device=device)
    other = torch.empty_like(values)
    copy_ms = host_ms(lambda: other.copy_(values), device=device, seconds=0.2)
    side = SQUARE // (8 if small else 1)
    square = torch.randn(side, side, device=device).to(dtype)
    product_ms = host_ms(lambda: square @ square, device=device, seconds=0.2)
    return Ceilings(bytes_per_s=2 * values.numel() / (copy_ms / 1e3), operations_per_s=2 * side**3 / (product_ms / 1e3))
