"""A small training stepped by hand on its first batch, to look at its weights, losses, memory and speed."""

import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from tarpon.train import checkpoint
from tarpon.train.config import Run, parse, parser_for
from tarpon.train.engine import DistContext, Engine, connect
from tarpon.train.graph_head import capture_head
from tarpon.train.task import Batch, Problem
from tarpon.train.tasks import TASKS


@cache
def connect_once() -> DistContext:
    """This process alone, in one process group: DeepSpeed cannot join a second one."""
    return connect()


def build_problem(task: str, shards: Path | str, options: Sequence[str], context: DistContext) -> tuple[Run, Problem]:
    """The settings and the problem of a task on some shards; `options` are the training's, as `--name=value`."""
    kind = TASKS[task]
    parser = parser_for(kind.options, recipe=kind.recipe(), task=task)
    run, own, _ = parse(parser, kind.options, [f"--data={shards}", *options])
    return run, kind.build(run, own, context)


class Stepper:
    """A task under an engine, on its first batch, which stays on the device.

    Args:
        task: name in TASKS.
        options: of the training, as `--name=value`.
        saved: weights and optimizer state, as `checkpoint.model_tensors` and `Engine.optimizer_state` give them.
    """

    def __init__(
        self, task: str, context: DistContext, shards: Path | str, options: Sequence[str], *, saved: tuple | None = None
    ) -> None:
        self.run: Run
        self.problem: Problem
        self.run, self.problem = build_problem(task, shards, options, context)
        if saved is not None:
            checkpoint.load_weights(self.problem.model, saved[0], name="saved")
        self.engine = Engine.of(self.run, context, self.problem.model, self.problem.groups)
        if saved is not None:
            self.engine.load_optimizer_state(saved[1])
        capture_head(self.run, self.problem, self.engine)  # before the loader begins
        # clones: the loader's own buffers go back to DALI
        self.batch: Batch = {name: value.clone() for name, value in next(self.problem.data.batches(0, 0)).items()}
        self.frozen, self.done = False, 0
        self.problem.freeze(False)
        self.engine.train()

    def freeze(self, on: bool) -> None:
        """Freeze the backbone, or let it learn, as the loop does."""
        if self.frozen and not on:
            self.engine.restart("backbone")
        self.frozen = on
        self.problem.freeze(on)

    def step(self) -> Tensor:
        """Train one step; returns the loss, without waiting for the device."""
        torch.manual_seed(self.done)  # dropout
        self.engine.set_rate(self.run.optim.lr, backbone=not self.frozen)
        out = self.engine(**{name: self.batch[name] for name in self.problem.inputs})
        loss = sum(self.problem.loss(out, self.batch).values())
        self.engine.backward(loss)
        self.engine.step()
        self.done += 1
        return loss.detach()

    def steps(self, amount: int) -> list[float]:
        """The losses of so many steps."""
        return [loss.item() for loss in [self.step() for _ in range(amount)]]

    def speed(self, *, steps: int, warm_up: int) -> float:
        """Frames a second of the steps after the warm-up."""
        begun = 0.0
        for number in range(steps):
            if number == warm_up:
                self._wait()
                begun = time.perf_counter()
            self.step()
        self._wait()
        return (steps - warm_up) * self.problem.count(self.batch) / (time.perf_counter() - begun)

    def _wait(self) -> None:
        if self.engine.context.gpu is not None:
            torch.cuda.synchronize()

    def weights(self, part: str) -> dict[str, Tensor]:
        """Copies of the parameters of `backbone` or `rest`."""
        return {
            name: parameter.detach().clone()
            for group, members in self.problem.groups.items()
            if group.startswith(f"{part}/")
            for name, parameter in members.items()
        }


def measure_changes(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, float]:
    """Mean absolute change of each parameter."""
    return {name: (after[name] - before[name]).abs().mean().item() for name in before}
