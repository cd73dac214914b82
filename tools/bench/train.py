"""`tarpon bench train`: rows a second of training, against how labs train today and against Tarpon without its loader.

Each variant runs in a process of its own, one at a time and in turns, so that a machine that grows busier meets all alike.
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tarpon.shards.features import open_features
from tarpon.tools.bench import results
from tarpon.tools.bench.step_timing import PARTS, StepTiming, Variant, time_in_process
from tarpon.tools.table import table
from tarpon.tools.tasks import benchmark_of

STEPS = {"cpu": 12, "cuda": 300}  # counted, a repeat


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way of training, over all its repeats."""

    name: str
    unit: str
    per_second: float  # median
    slowest: float
    fastest: float
    loader_share: float  # of the time
    parts: dict[str, float]  # seconds of a step in each of PARTS
    peak_mib: float  # resident, with all processes below it and the pages it has mapped
    own_mib: float  # at the end, without mapped files
    data_mib: float  # of that, what holding the data took


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What a figure should reach."""

    what: str
    at_least: float | None = None
    below: float | None = None

    def met(self, value: float) -> bool:
        return value >= self.at_least if self.at_least is not None else value < self.below

    def describe(self) -> str:
        return f"{self.at_least} or more" if self.at_least is not None else f"below {self.below}"


AIMS = {
    "tarpon_over_baseline": Aim(what="tarpon over the baseline", at_least=1.5),
    "tarpon_over_resident": Aim(what="tarpon over one resident batch", at_least=0.95),
    "loader_share": Aim(what="tarpon's loader, share of the step", below=0.02),
}


@dataclass(frozen=True, kw_only=True)
class TrainBenchmark:
    """What a task brings: `write_table(out, rows=, dim=)`, `workload(features=, batch=, threads=)`, `variants(workload)`."""

    write_table: Callable[..., None]
    workload: Callable[..., object]
    variants: Callable[..., Iterator[Variant]]


def run(
    *,
    task: str,
    features: str | None = None,
    rows: int = 75631,
    dim: int = 1024,
    batch: int = 256,
    steps: int | None = None,
    warm_up: int = 3,
    repeats: int = 3,
    threads: int | None = None,
    json: str | None = None,
) -> int:
    """Time training from a feature table, the usual way, and Tarpon on one batch that stays, in one run on the same cores.

    Args:
        task: whose default model is trained: fish.
        features: folder that `tarpon features` wrote; unset: a random table in a temporary folder.
        rows: of that random table, validation rows included.
        dim: numbers of its vectors.
        batch: rows of a step.
        steps: counted in a repeat; unset: 12 on a CPU, 300 on a GPU.
        warm_up: steps that are not counted, before them.
        repeats: of which the median is taken; each in a process of its own.
        threads: of PyTorch in each; unset: all cores of this process.
        json: file for the figures.

    Returns:
        0.
    """
    benchmark = benchmark_of(task, "train")
    gpu = torch.cuda.is_available()
    steps = STEPS["cuda" if gpu else "cpu"] if steps is None else steps
    if min(steps, repeats) < 1 or warm_up < 0:
        raise ValueError(f"steps={steps} and repeats={repeats} must be 1 or more and warm_up={warm_up} 0 or more")
    where = results.describe_machine(gpu=torch.cuda.get_device_name() if gpu else None)
    with tempfile.TemporaryDirectory(prefix="tarpon-bench-") as folder:
        if features is None:
            features = f"{folder}/features"
            benchmark.write_table(Path(features), rows=rows, dim=dim)
        work = benchmark.workload(features=features, batch=batch, threads=threads or len(os.sched_getaffinity(0)))
        conditions = describe(features, batch=batch, threads=work.threads, steps=steps, repeats=repeats)
        measured = measure(list(benchmark.variants(work)), steps=steps, warm_up=warm_up, repeats=repeats)
    best, ratios = compare(measured)
    print("\n".join([*format_report(best, ratios, where, conditions=conditions), *list_others(measured, best)]))
    if json:
        results.write_json(Path(json), best, ratios, where)
    return 0


def describe(features: str, *, batch: int, threads: int, steps: int, repeats: int) -> str:
    vectors = open_features(features).features
    return (
        f"table of {vectors.shape[0]} x {vectors.shape[1]} {vectors.dtype}, {vectors.nbytes / 2**20:.0f} MiB; "
        f"batch {batch}, {threads} threads, median of {repeats} x {steps} steps"
    )


def measure(variants: Sequence[Variant], *, steps: int, warm_up: int, repeats: int) -> list[tuple[str, Row]]:
    """(kind, row) of every variant. The variants take turns, so that a busier machine slows all of them alike."""
    timings: dict[str, list[StepTiming]] = {variant.name: [] for variant in variants}
    for _ in range(repeats):
        for variant in variants:
            timings[variant.name].append(time_in_process(variant, steps=steps, warm_up=warm_up))
    return [(variant.kind, summarise_repeats(variant.name, timings[variant.name])) for variant in variants]


def summarise_repeats(name: str, timings: Sequence[StepTiming]) -> Row:
    speeds = [timing.per_second for timing in timings]
    return Row(
        name=name,
        unit="rows",
        per_second=statistics.median(speeds),
        slowest=min(speeds),
        fastest=max(speeds),
        loader_share=statistics.median(timing.loader_share for timing in timings),
        parts={part: statistics.median(timing.parts[part] for timing in timings) for part in PARTS},
        peak_mib=max(timing.peak_mib for timing in timings),
        own_mib=max(timing.own_mib for timing in timings),
        data_mib=max(timing.data_mib for timing in timings),
    )


def compare(measured: Sequence[tuple[str, Row]]) -> tuple[list[Row], dict[str, float]]:
    """Tarpon, the better baseline and the resident batch; and the figures that have aims."""
    best: dict[str, Row] = {}
    for kind, row in measured:
        if kind not in best or row.per_second > best[kind].per_second:
            best[kind] = row
    ours, theirs, resident = best["tarpon"], best["baseline"], best["resident"]
    return [ours, theirs, resident], {
        "tarpon_over_baseline": ours.per_second / theirs.per_second,
        "tarpon_over_resident": ours.per_second / resident.per_second,
        "loader_share": ours.loader_share,
    }


def format_report(
    rows: Sequence[Row], ratios: Mapping[str, float], where: dict[str, object], *, conditions: str
) -> Iterator[str]:
    """The tables for people."""
    yield next(results.format_report([], {}, where))  # the machine
    yield conditions
    yield ""
    parts = [f"{part} ms" for part in PARTS]
    head = ["variant", "rows/s", "from", "to", "loader", *parts, "peak MiB", "own MiB", "of it data"]
    yield from table(head, [format_row(row) for row in rows])
    yield ""
    aims = [
        [aim.what, f"{ratios[name]:.3f}", f"aim {aim.describe()}", "met" if aim.met(ratios[name]) else "MISSED"]
        for name, aim in AIMS.items()
    ]
    yield from table(["", "here", "", ""], aims)
    if missed := [AIMS[name].what for name in AIMS if not AIMS[name].met(ratios[name])]:
        yield ""
        yield f"Missed: {', '.join(missed)}. {describe_verdict(rows)}"


def format_row(row: Row) -> list[str]:
    speeds = [f"{value:.0f}" for value in (row.per_second, row.slowest, row.fastest)]
    times = [f"{1000 * row.parts[part]:.1f}" for part in PARTS]
    return [
        row.name,
        *speeds,
        f"{row.loader_share:.2%}",
        *times,
        *(f"{v:.0f}" for v in (row.peak_mib, row.own_mib, row.data_mib)),
    ]


def describe_verdict(rows: Sequence[Row]) -> str:
    """Where the time goes, in one sentence."""
    ours, theirs = rows[0].parts, rows[1].parts
    shares = (f"{part} {ours[part] / sum(ours.values()):.0%}" for part in PARTS)
    times = (f"{part} {theirs[part] / ours[part]:.2f}" for part in PARTS[1:])
    return f"Tarpon's step: {', '.join(shares)}; in the baseline {', '.join(times)} times as long."


def list_others(measured: Sequence[tuple[str, Row]], best: Sequence[Row]) -> Iterator[str]:
    """What was tried and not taken."""
    for _, row in measured:
        if row not in best:
            yield f"Also tried: {row.name}, {row.per_second:.0f} rows/s."
