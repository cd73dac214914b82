"""`tarpon bench loader`: what a loader delivers a second as ready tensors, against what labs do today.

All variants of a task deliver the same samples, one after another, on the same cores. What is compared is the task's own
affair, found through `tools/tasks.py`.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from tarpon.tools.bench import results as bench
from tarpon.tools.tasks import benchmark_of


@dataclass(frozen=True, kw_only=True)
class LoaderBenchmark:
    """What a task brings."""

    prepare: Callable[..., AbstractContextManager[bench.Contest]]  # (device=, cores=, and what it takes)
    takes: tuple[str, ...]  # options of `run`
    needs: tuple[str, ...] = ()  # those it cannot do without


def run(
    *,
    task: str = "mouse",
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
        task: mouse, cells or star.
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
        "shards": shards,
        "videos": videos,
        "annotations": annotations,
        "config": config,
        "size": size,
        "window": window,
        "batch": batch,
        "stacks": stacks,
        "pages": pages,
        "side": side,
        "photos": photos,
        "stages": stages or None,
    }
    benchmark = choose(task, given)
    if device not in ("cpu", "gpu"):
        raise ValueError(f"device={device!r} must be cpu or gpu")
    if device == "gpu" and not torch.cuda.is_available():
        raise ValueError("device='gpu' needs an NVIDIA GPU that PyTorch sees; use device='cpu'")
    timing = bench.Timing(seconds=seconds, repeats=repeats, warm_up=warm_up)
    said = {name: value for name, value in given.items() if value is not None}
    cores = len(os.sched_getaffinity(0))
    with benchmark.prepare(device=0 if device == "gpu" else None, cores=cores, **said) as contest:
        where = bench.machine(gpu=torch.cuda.get_device_name() if device == "gpu" else None)
        rows = [
            bench.measure(variant.name, variant.make, unit=contest.unit, timing=timing, arguments=variant.arguments)
            for variant in contest.variants
        ]
    speed = {row.name: row.per_second for row in rows}
    ratios = {name: speed[over] / speed[under] for name, (over, under) in contest.ratios.items()}
    print("\n".join([*bench.report(rows, ratios, where), "", contest.verdict(speed)]))
    if json:
        bench.write_json(Path(json), rows, ratios, where)
    return 0


def choose(task: str, given: dict[str, object]) -> LoaderBenchmark:
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
    return benchmark
