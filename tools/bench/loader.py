"""`tarpon bench loader`: what a loader delivers a second as ready tensors, against what labs do today.

All variants of a task deliver the same samples, one variant after another, on the same cores. The variants come from the task's
`LoaderBenchmark`, found through `tools/tasks.py`.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from tarpon.tools.bench import results
from tarpon.tools.tasks import TOOLS, benchmark_of


@dataclass(frozen=True, kw_only=True)
class LoaderBenchmark:
    """How one task's loader is compared with others."""

    prepare: Callable[..., AbstractContextManager[results.Comparison]]  # (device=, cores=, and the options in `takes`)
    takes: tuple[str, ...]  # options of `run` that it uses
    needs: tuple[str, ...] = ()  # those of them that must be given


def run(
    *,
    task: str | None = None,
    shards: str | None = None,
    videos: str | None = None,
    annotations: str | None = None,
    config: str | None = None,
    json: str | None = None,
    seconds: float = 10.0,
    repeats: int = 3,
    warm_up: float = 2.0,
    device: str = "cpu",
    size: int | None = None,
    window: int | None = None,
    batch: int | None = None,
    stacks: int | None = None,
    pages: int | None = None,
    side: int | None = None,
    photos: int | None = None,
    stages: bool = False,
) -> int:
    """Time Tarpon's loader and the usual way in one run on the same cores.

    Args:
        task: mouse, cells or star; unset: mouse.
        shards: folder that `tarpon pack` wrote; cells and star: unset, what they need is made up in a temporary folder.
        videos, annotations: mouse: the lab folders it was packed from.
        config: cells: the YAML file it was packed with.
        json: file for the figures.
        seconds: of each repeat, at least.
        repeats: of which the median is taken.
        warm_up: seconds that are not counted, before them.
        device: cpu, or gpu for decoding on the GPU and batches delivered there.
        size: side of what is delivered in pixels; unset: 224 of mouse, 512 of cells, 384 of star.
        window: mouse: frames of a clip; unset: 180.
        batch: mouse: clips of a batch; unset: 2. cells: pages, star: photographs; unset: 32.
        stacks, pages, side: cells: of the stacks made up; unset: 8 stacks of 30 pages, 1024 pixels a side.
        photos: star: photographs made up; unset: 96.
        stages: also time parts of the way.

    Returns:
        0.
    """
    given = {
        "shards": shards, "videos": videos, "annotations": annotations, "config": config, "size": size, "window": window,
        "batch": batch, "stacks": stacks, "pages": pages, "side": side, "photos": photos, "stages": stages or None,
    }  # fmt: skip
    benchmark = choose(task or default_task(), given, device=device)
    timing = results.Timing(seconds=seconds, repeats=repeats, warm_up=warm_up)
    chosen = {name: value for name, value in given.items() if value is not None}
    cores = len(os.sched_getaffinity(0))
    with benchmark.prepare(device=0 if device == "gpu" else None, cores=cores, **chosen) as comparison:
        where = results.describe_machine(gpu=torch.cuda.get_device_name() if device == "gpu" else None)
        rows = measure_variants(comparison, timing)
    speed = {row.name: row.per_second for row in rows}
    ratios = {name: speed[over] / speed[under] for name, (over, under) in comparison.ratios.items()}
    print("\n".join([*results.format_report(rows, ratios, where), "", comparison.verdict(speed)]))
    if json:
        results.write_json(Path(json), rows, ratios, where)
    return 0


def default_task() -> str:
    """The first task that has a loader benchmark."""
    return next(name for name, tools in TOOLS.items() if "loader" in tools.benchmarks)


def check_device(device: str) -> None:
    """ValueError unless device is cpu, or gpu where PyTorch sees one."""
    if device not in ("cpu", "gpu"):
        raise ValueError(f"device={device!r} must be cpu or gpu")
    if device == "gpu" and not torch.cuda.is_available():
        raise ValueError("device='gpu' needs an NVIDIA GPU that PyTorch sees; use device='cpu'")


def measure_variants(comparison: results.Comparison, timing: results.Timing) -> list[results.Row]:
    """A row for every variant, each measured in a process of its own, one after the other."""
    return [
        results.measure(variant.name, variant.make, unit=comparison.unit, timing=timing, arguments=variant.arguments)
        for variant in comparison.variants
    ]


def choose(task: str, given: dict[str, object], *, device: str) -> LoaderBenchmark:
    """The task's benchmark. ValueError where it lacks an option, is given one it has no use for, or a size below 1."""
    benchmark = benchmark_of(task, "loader")
    for name, value in given.items():
        if value is not None and name not in benchmark.takes:
            raise ValueError(f"--{name} is no option of the {task} benchmark; it takes {', '.join(benchmark.takes)}")
        if value is None and name in benchmark.needs:
            raise ValueError(f"--{name} is missing; the {task} benchmark needs {', '.join(benchmark.needs)}")
    counts = {name: value for name, value in given.items() if isinstance(value, int) and not isinstance(value, bool)}
    if any(value < 1 for value in counts.values()):
        raise ValueError(f"{', '.join(f'{name}={value}' for name, value in counts.items())}: each must be 1 or more")
    check_device(device)
    return benchmark
