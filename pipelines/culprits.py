"""Which samples of a failed batch do not decode: each one alone through the same graph."""

import re
from collections.abc import Callable, Iterable, Mapping

from tarpon.pipelines.read_ahead import Batch

OF_THE_MACHINE = re.compile(r"out of memory|bad_alloc|cuda runtime|CUDA_ERROR|cudaError|device-side", re.IGNORECASE)
DETAIL = re.compile(r"encountered:\s+(.*?)\s*(C\+\+ context|Current pipeline|Stacktrace|$)", re.IGNORECASE | re.DOTALL)


def blames_the_machine(error: RuntimeError) -> bool:
    """True where no sample is at fault."""
    return bool(OF_THE_MACHINE.search(str(error)))


def reason_of(error: RuntimeError) -> str:
    """One line: what DALI says, without where in its own code."""
    found = DETAIL.search(str(error))
    return " ".join((found[1] if found else str(error)).split())[:200] or "no reason given"


def find(samples: Iterable[tuple[int, Mapping]], build: Callable[[Callable[[], Batch]], object]) -> dict[int, str]:
    """Row -> reason of every sample that does not decode.

    Args:
        samples: (row, arrays by name) of each.
        build: a pipeline of one sample a batch, of a function that gives the next batch.

    Raises:
        RuntimeError: the machine is at fault (no memory).
    """
    found: dict[int, str] = {}
    waiting: list[Batch] = []
    held: list[Batch] = []  # DALI reads the arrays without a copy
    pipeline = None
    for row, arrays in samples:
        if row in found:
            continue
        waiting.append({name: [value] for name, value in arrays.items()})
        held.append(waiting[0])
        pipeline = pipeline or build(lambda: _next(waiting))
        try:
            pipeline.run()
        except RuntimeError as error:
            if blames_the_machine(error):
                raise
            found[row] = reason_of(error)
            pipeline = None
            waiting.clear()
    return found


def _next(waiting: list[Batch]) -> Batch:
    if not waiting:
        raise StopIteration
    return waiting.pop(0)
