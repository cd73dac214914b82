"""`tarpon bench plan`: seconds and memory that opening a manifest and planning cost a process, without tars and pictures."""

import json as json_format
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from tarpon.shards import atomic
from tarpon.shards.lazy_manifest import LazyManifest, open_lazily
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.sampling.plan import EpochPlan, Slots
from tarpon.shards.sampling.shard_plan import ShardPlan
from tarpon.tools.bench.plan_sets import DrawnRows, write_set, write_set_by_shard
from tarpon.tools.bench.results import describe_machine
from tarpon.tools.table import table
from tarpon.tools.tasks import benchmark_of

MICRO, WORLD, RANK = 32, 8, 3  # the process that is measured is rank 3 of 8 that read 32 rows each
NEXT_STEPS = 100  # timed together
Clock = Literal["wall", "cpu"]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way from a folder to a plan."""

    write: Callable[..., None]  # (folder, DrawnRows, rows=, shards=): a set made up
    open: Callable[[str], object]  # the folder -> its manifest
    begin: Callable[[object], object]  # the manifest -> the plan, with whatever else a training does with all rows


@dataclass(frozen=True, kw_only=True)
class PlanBenchmark:
    """The rows that one task plans, and how."""

    drawn: DrawnRows
    ways: Mapping[str, Way]  # by the kind of plan


def begin_rows(manifest: Manifest) -> EpochPlan:
    """The plan over rows of a set that no task's labels weigh."""
    rows = manifest.rows("train")
    return EpochPlan(rows=rows, shards=manifest.tar_numbers(rows), seed=0)


def begin_shards(manifest: LazyManifest) -> ShardPlan:
    """The plan over shards of such a set."""
    return ShardPlan(counts=manifest.split_counts("train"), rows_of=partial(manifest.split_rows, "train"), seed=0)


def ways(rows: Callable[[Manifest], object], shards: Callable[[LazyManifest], object]) -> dict[str, Way]:
    """Both kinds of plan, by what a task does to begin with each."""
    return {
        "rows": Way(write=write_set, open=open_manifest, begin=rows),
        "shards": Way(write=write_set_by_shard, open=open_lazily, begin=shards),
    }


IMAGES = PlanBenchmark(drawn=DrawnRows(), ways=ways(begin_rows, begin_shards))


@dataclass(frozen=True, kw_only=True)
class PlanCost:
    """What one process spends before and between its steps."""

    plan: str
    rows: int
    shards: int
    open_s: float
    start_s: float  # from the opened manifest to the plan
    step_ms: float  # rows of a step in the middle of an epoch, out of order, as after a resume
    row_ms: float  # what the manifest says of them
    next_ms: float  # both of each further step, mean of NEXT_STEPS
    fingerprint_s: float
    mib: float  # resident memory at most, beyond that of the imported packages


def run(
    *,
    task: str | None = None,
    plan: str = "rows",
    rows: str = "1e6",
    shards: str = "1000",
    clock: Clock = "wall",
    json: str | None = None,
) -> int:
    """Measure opening and planning of manifests that are made up, each in a fresh process.

    Args:
        task: whose rows and weights; unset: images with a label, equally weighted.
        plan: rows, shards or both by comma: what is held and planned.
        rows: of the manifests, by comma.
        shards: of each of them, by comma, as many; or one number for all.
        clock: wall, or cpu: what the processors spent on it, where others keep the machine busy.
        json: file for the figures.

    Returns:
        0.
    """
    sizes, known = read_sizes(rows, shards), _benchmark(task).ways
    if unknown := [name for name in plan.split(",") if name not in known]:
        raise ValueError(f"plan={unknown[0]!r} must be one of {', '.join(known)}")
    where = describe_machine()
    kinds = plan.split(",")
    found = [measure(task, name, rows=count, shards=files, clock=clock) for count, files in sizes for name in kinds]
    print(f"{where['cpu']}, {where['cores']} cores, load average at the start {where['load_average'][0]}")
    print(f"rank {RANK} of {WORLD}, {MICRO} rows a process a step; {task or 'images'}; {clock} time\n")
    print("\n".join(format_costs(found)))
    if json:
        content = {"rows": [asdict(cost) for cost in found], "machine": where}
        atomic.write_text(Path(json), json_format.dumps(content, indent=2) + "\n")
    return 0


def read_sizes(rows: str, shards: str) -> list[tuple[int, int]]:
    """(rows, shards) of each manifest; ValueError where they do not fit together."""
    try:
        counts, files = ([int(float(word)) for word in text.split(",")] for text in (rows, shards))
    except ValueError as error:
        raise ValueError(f"rows={rows!r} and shards={shards!r} must be numbers by comma; e.g. 1e6,1e7") from error
    files = files * len(counts) if len(files) == 1 else files
    if len(files) != len(counts):
        raise ValueError(f"rows={rows} are {len(counts)} sizes and shards={shards} {len(files)}; give as many, or one for all")
    for count, number in zip(counts, files, strict=True):
        if not 10 <= number <= count or count < 2 * MICRO * WORLD:
            raise ValueError(
                f"rows={count} in shards={number}: at least 10 shards, a row in each, and {2 * MICRO * WORLD} rows in all"
            )
    return list(zip(counts, files, strict=True))


def measure(task: str | None, plan: str, *, rows: int, shards: int, clock: Clock = "wall") -> PlanCost:
    """Make up a manifest, then open and plan it; both in processes of their own."""
    with tempfile.TemporaryDirectory(prefix="tarpon-plan-") as folder:
        root = Path(folder) / "set"
        _alone(_write, root, task, plan, rows=rows, shards=shards)
        times = _alone(_time, str(root), task, plan, clock)
    return PlanCost(plan=plan, rows=rows, shards=shards, **times)


def _alone(function: Callable, *given: object, **named: object) -> object:
    """The result of a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given, **named).result()


def _benchmark(task: str | None) -> PlanBenchmark:
    return benchmark_of(task, "plan") if task else IMAGES


def _write(root: Path, task: str | None, plan: str, *, rows: int, shards: int) -> None:
    benchmark = _benchmark(task)
    benchmark.ways[plan].write(root, benchmark.drawn, rows=rows, shards=shards)


def _time(root: str, task: str | None, plan: str, clock: Clock) -> dict[str, float]:
    """The figures of a `PlanCost`, of this process."""
    way, before = _benchmark(task).ways[plan], _resident_mib("VmRSS")
    now = time.process_time if clock == "cpu" else time.perf_counter
    laps = [now()]
    manifest = way.open(root)
    laps.append(now())
    order = way.begin(manifest)
    laps.append(now())
    middle = order.steps(MICRO * WORLD) // 2
    steps = order.stream(0, skip=middle, micro=MICRO, accumulation=1, rank=RANK, world=WORLD)
    slots = next(steps)
    laps.append(now())
    _read_keys(manifest, slots)
    laps.append(now())
    for _ in range(NEXT_STEPS):
        _read_keys(manifest, next(steps))
    laps.append(now())
    manifest.fingerprint()
    laps.append(now())
    spent = np.diff(laps) * (1, 1, 1000, 1000, 1000 / NEXT_STEPS, 1)
    names = ("open_s", "start_s", "step_ms", "row_ms", "next_ms", "fingerprint_s")
    return dict(zip(names, spent.tolist(), strict=True)) | {"mib": _resident_mib("VmHWM") - before}


def _read_keys(manifest: Manifest | LazyManifest, slots: Slots) -> None:
    for row in slots.rows.tolist():
        manifest.value(row, "key")


def _resident_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def format_costs(found: Sequence[PlanCost]) -> Iterator[str]:
    """Lines of a table."""
    head = ("plan", "rows", "shards", "open s", "start s", "step k ms", "its rows ms", "next ms", "fingerprint s", "MiB")
    cells = [
        (
            cost.plan, f"{cost.rows:,}", f"{cost.shards:,}", f"{cost.open_s:.2f}", f"{cost.start_s:.2f}",
            f"{cost.step_ms:.1f}", f"{cost.row_ms:.1f}", f"{cost.next_ms:.2f}",
            f"{cost.fingerprint_s:.2f}", f"{cost.mib:.0f}",
        )
        for cost in found
    ]  # fmt: skip
    yield from table(head, cells)
