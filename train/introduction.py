"""What a training says of itself before its first step."""

import torch

from tarpon.train.config import Run
from tarpon.train.engine import Engine, cores
from tarpon.train.noise import LOG
from tarpon.train.task import Problem


def introduce(problem: Problem, engine: Engine, run: Run) -> str:
    """Lines on the device, one batch as the model will get it, the length of the run, its memory and where it is kept."""
    batch = next(iter(problem.data.split("val")))
    shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in batch.items() if value.ndim > 1)
    weights = sum(p.numel() for group in problem.groups.values() for p in group.values())
    return "\n".join(
        [
            f"device    {describe_device(engine, run)}",
            f"batch     {shapes}",
            f"steps     {describe_length(problem, run)}",
            f"memory    weights and optimizer {16 * weights / 2**20:.0f} MiB, a batch {batch_bytes(batch) / 2**20:.0f} MiB",
            f"out       {run.out}; to watch: tensorboard --logdir {run.out}/tensorboard; what libraries say is in {LOG}",
        ]
    )


def describe_device(engine: Engine, run: Run) -> str:
    """`CPU, 2 cores, fp32, not compiled`."""
    context = engine.context
    own = cores(context)
    name = f"CPU, {own} core{'s' * (own > 1)}"
    if context.device.type == "cuda":
        name = torch.cuda.get_device_name(context.device)
    parts = [f"{context.world} processes, each {name}" if context.world > 1 else name]
    parts.append("bf16" if engine.bf16 else "fp32 (matrix products in tf32)" if engine.tf32 else "fp32")
    parts += [f"ZeRO {run.engine.zero_stage}"] if run.engine.zero_stage else []
    return ", ".join([*parts, engine.speed])


def describe_length(problem: Problem, run: Run) -> str:
    """`720: 90 epochs of 8, global batch 2, evaluated every 30 epochs`."""
    an_epoch = problem.data.steps_per_epoch
    total = run.steps or run.epochs * an_epoch
    every = "every epoch" if run.eval_every == 1 else f"every {run.eval_every} epochs"
    epochs = f"{run.epochs} epochs of {an_epoch}" if not run.steps else f"{an_epoch} an epoch"
    return f"{total}: {epochs}, global batch {run.global_batch}, evaluated {every}"


def batch_bytes(batch: dict) -> int:
    return sum(value.numel() * value.element_size() for value in batch.values())
