"""What every benchmark shares: rows, the machine they were measured on, one JSON shape, one table.

Each variant runs in a process of its own, so that peaks of memory and left-over threads stay apart.
"""

import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tarpon.shards import atomic, installed
from tarpon.tools.table import table

PACKAGES = (
    "tarpon",
    "torch",
    "numpy",
    "nvidia-dali-cuda130",
    "nvidia-dali-cuda120",
    "opencv-python-headless",
    "opencv-python",
    "av",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that was timed."""

    name: str
    unit: str  # of what is counted, e.g. "frames"
    per_second: float  # median of the repeats
    peak_mib: float  # of the whole process tree


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long to measure."""

    seconds: float = 10.0  # at least, a repeat
    repeats: int = 3
    warm_up: float = 2.0  # seconds at least, not counted

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.repeats < 1 or self.warm_up < 0:
            raise ValueError(
                f"seconds={self.seconds} must be above 0, repeats={self.repeats} 1 or more and warm_up={self.warm_up} 0 or more"
            )


MakeSteps = Callable[..., Generator[int, None, None]]  # yields the number of units of each step, endlessly


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of the things that are compared."""

    name: str
    make: MakeSteps  # a module-level function
    arguments: dict  # what travels to the process it runs in


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """What is compared, and how the figures are judged."""

    unit: str  # of what is counted
    variants: tuple[Variant, ...]
    ratios: dict[str, tuple[str, str]]  # name -> variant over variant
    verdict: Callable[[dict[str, float]], str]  # variant -> units a second; one sentence


def measure(name: str, make: MakeSteps, *, unit: str, timing: Timing, arguments: dict) -> Row:
    """Time `make(**arguments)` in a fresh process; what it raises as ValueError is raised here.

    Args:
        make: a module-level function.
        arguments: what travels to the other process.
    """
    # spawn, as a fork would inherit threads; not a daemon, as a variant may start workers of its own
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, make, arguments, timing), daemon=False)
    process.start()
    there.close()
    try:
        outcome = here.recv()
    except EOFError as error:
        raise RuntimeError(f"{name}: the measuring process ended without a result; its messages are above") from error
    finally:
        process.join()
    if isinstance(outcome, str):
        raise ValueError(outcome)
    return Row(name=name, unit=unit, per_second=outcome[0], peak_mib=outcome[1])


def _child(pipe: object, make: MakeSteps, arguments: dict, timing: Timing) -> None:
    try:
        steps = make(**arguments)
        measure_rate(steps, seconds=timing.warm_up)
        rates = [measure_rate(steps, seconds=timing.seconds) for _ in range(timing.repeats)]
        pipe.send((statistics.median(rates), tree_peak_mib(os.getpid())))
        steps.close()  # ends its threads and workers; left to the interpreter's end, native ones abort it
    except ValueError as error:
        pipe.send(str(error))


def measure_rate(steps: Iterator[int], *, seconds: float) -> float:
    """Units a second, over at least one step and at least `seconds`."""
    begun, count = time.perf_counter(), 0
    while True:
        count += next(steps)
        took = time.perf_counter() - begun
        if took >= seconds:
            return count / took


def tree_peak_mib(pid: int) -> float:
    """Peak resident memory of a process and all below it, MiB.

    The sum of each one's peak, less what is now counted more than once because several of them share it.
    """
    import psutil  # here, for the figures of kernels are also taken where it is not installed

    root = psutil.Process(pid)
    total = 0
    for member in [root, *root.children(recursive=True)]:
        try:
            now = member.memory_full_info()
            total += 1024 * _peak_kib(member.pid) - (now.rss - now.pss)
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return total / 2**20


def _peak_kib(pid: int) -> int:
    """The kernel's own high-water mark, which psutil does not tell."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def describe_machine(*, gpu: str | None = None) -> dict[str, object]:
    """The machine and the versions that the figures depend on. `gpu` is its name, where one was used."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    there = {name: version for name, version in installed.find_versions(PACKAGES).items() if version is not None}
    memory_gib = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": memory_gib,
        "gpu": gpu,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "versions": {"python": platform.python_version(), **there},
    }


def format_report(rows: Sequence[Row], ratios: dict[str, float], where: dict[str, object]) -> Iterator[str]:
    """Lines for a terminal: the machine, a line for each row, the ratios."""
    yield (
        f"{where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB, GPU: {where['gpu'] or 'none'}, "
        f"load average at the start {where['load_average'][0]}"
    )
    yield ""
    yield from table(
        ["variant", "per second", "", "peak MiB"],
        [[row.name, f"{row.per_second:.1f}", row.unit, f"{row.peak_mib:.0f}"] for row in rows],
    )
    yield ""
    yield from (f"{name} {ratio:.2f}" for name, ratio in ratios.items())


def write_json(path: Path, rows: Sequence[Row], ratios: dict[str, float], where: dict[str, object]) -> None:
    """The same as JSON: {"rows": [...], "ratios": {...}, "machine": {...}}."""
    content = {"rows": [asdict(row) for row in rows], "ratios": ratios, "machine": where}
    atomic.write_text(path, json.dumps(content, indent=2) + "\n")
