"""Times a training step by step in a process of its own: its speed, the parts of a step, and its memory."""

import itertools
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tarpon.tools.bench import results

PARTS = ("loader", "forward", "backward", "optimizer")  # of a step, in their order
SYNCHRONIZED_STEPS = 10  # more steps on a GPU that wait for it after each part: otherwise a part ends when it is queued


@dataclass(frozen=True, kw_only=True, eq=False)
class Trainer:
    """A training that is ready to be stepped."""

    batches: Iterator[Mapping[str, Tensor]]  # endless
    forward: Callable[[Mapping[str, Tensor]], Tensor]  # batch -> loss
    backward: Callable[[Tensor], object]
    advance: Callable[[], object]  # the optimizer, gradients cleared
    close: Callable[[], object]
    device: torch.device
    data_mib: float  # memory that holding the data took, beside mapped files


@dataclass(frozen=True, kw_only=True)
class StepTiming:
    """The figures of one process."""

    per_second: float  # rows
    parts: dict[str, float]  # mean seconds of a step in each of PARTS
    loader_share: float  # of the counted time
    loss: float  # of the last step
    peak_mib: float  # resident, with all processes below it and the pages it has mapped
    own_mib: float  # at the end, without mapped files
    data_mib: float


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of training."""

    kind: str  # tarpon | baseline | resident; of several of a kind the fastest counts
    name: str
    make: Callable[..., Trainer]  # a module-level function
    arguments: dict  # what travels to the other process


def time_in_process(variant: Variant, *, steps: int, warm_up: int) -> StepTiming:
    """Build a variant and time it in a fresh process; its exceptions are raised here, RuntimeError where the process dies."""
    # spawn, as a fork would inherit threads
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(build_and_time, variant, steps=steps, warm_up=warm_up).result()
        except BrokenProcessPool as error:
            raise RuntimeError(f"{variant.name}: the process ended without a result; its messages are above") from error


def build_and_time(variant: Variant, *, steps: int, warm_up: int) -> StepTiming:
    trainer = variant.make(**variant.arguments)
    try:
        return time_steps(trainer, steps=steps, warm_up=warm_up)
    finally:
        trainer.close()


def time_steps(trainer: Trainer, *, steps: int, warm_up: int) -> StepTiming:
    """Time `steps` steps after `warm_up` uncounted ones; FloatingPointError for a loss that is no number."""
    for _ in range(warm_up):
        time_step(trainer)
    synchronize(trainer.device)
    begun, rows, spent = time.perf_counter(), 0, []
    for _ in range(steps):
        count, parts, loss = time_step(trainer)
        rows += count
        spent.append(parts)
    synchronize(trainer.device)
    seconds = time.perf_counter() - begun
    waited = sum(parts[0] for parts in spent)
    if trainer.device.type == "cuda":
        spent = [time_step(trainer, wait=True)[1] for _ in range(SYNCHRONIZED_STEPS)]
    if not math.isfinite(loss.item()):
        raise FloatingPointError(f"the loss is {loss.item()} after {warm_up + steps} steps")
    return StepTiming(
        per_second=rows / seconds,
        parts={name: sum(column) / len(spent) for name, column in zip(PARTS, zip(*spent, strict=True), strict=True)},
        loader_share=waited / seconds,
        loss=loss.item(),
        peak_mib=results.tree_peak_mib(os.getpid()),
        own_mib=own_mib(),
        data_mib=trainer.data_mib,
    )


def time_step(trainer: Trainer, *, wait: bool = False) -> tuple[int, list[float], Tensor]:
    """Rows of one step, seconds of each of PARTS, and the loss; `wait` for the device after each part."""
    ends = [time.perf_counter()]

    def lap() -> None:
        if wait:
            synchronize(trainer.device)
        ends.append(time.perf_counter())

    batch = next(trainer.batches)
    lap()
    loss = trainer.forward(batch)
    lap()
    trainer.backward(loss)
    lap()
    trainer.advance()
    lap()
    return len(batch["features"]), [end - begun for begun, end in itertools.pairwise(ends)], loss.detach()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def own_mib() -> float:
    """Memory of this process that no file backs, MiB: a mapped table counts only where it was copied."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024
