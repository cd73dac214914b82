"""One optimizer step after another: what a step does depends on its position in the run alone, not on what came before."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from tarpon.train.checkpoint import Position
from tarpon.train.config import Run
from tarpon.train.engine import Engine
from tarpon.train.freezing import Freezing
from tarpon.train.meter import Meter
from tarpon.train.schedule import Plateau, learning_rate
from tarpon.train.task import Batch, Problem
from tarpon.train.timing import StepTimer


@dataclass
class State:
    """What a checkpoint holds beside tensors."""

    at: Position
    plateau: Plateau


class Stepper:
    """Takes a run's steps from `state.at` on, and moves it.

    Attributes:
        total: steps of the run.
        done: samples of this process so far, in the problem's unit.
        ended: the last step was the last of its epoch.
        timer: of the parts of the steps, on the first process.
    """

    def __init__(self, run: Run, problem: Problem, engine: Engine, *, state: State, meter: Meter) -> None:
        self.timer = StepTimer(engine.context.device, on=engine.context.first)
        self._run, self._problem, self._engine, self._state, self._meter = run, problem, engine, state, meter
        self._epoch_micros = problem.data.steps_per_epoch * run.accumulation(engine.context.world)
        self.total = run.steps or run.epochs * problem.data.steps_per_epoch
        self.done, self.ended = 0, False
        at = state.at
        # as it was for the step before: a run resumed where the backbone thaws must go through the thaw
        frozen = max(at.epoch - (at.micro == 0), 0) < run.freeze_backbone_epochs
        self.freezing = Freezing(problem, engine, frozen=frozen)
        self._batches = problem.data.batches(at.epoch, at.micro)

    def step(self) -> float:
        """All micro-batches of one optimizer step, without a wait for the GPU; returns the learning rate it was made with."""
        stepped = False
        while not stepped:
            self.timer.begin()
            at, batch = self._state.at, next(self._batches)
            self.timer.mark("data")
            self.freezing.set(at.epoch < self._run.freeze_backbone_epochs)
            rate = self._rate()
            self._engine.set_rate(rate, backbone=not self.freezing.frozen)
            # dropout is a function of the position in the run, so resuming needs no generator state
            place, context = at.epoch * self._epoch_micros + at.micro, self._engine.context
            torch.manual_seed((self._run.seed * 1_000_003 + place) * context.world + context.rank)
            stepped = advance(self._problem, self._engine, self._meter, batch, at=at, mark=self.timer.mark)
            self.done += self._problem.count(batch)
            self.ended = at.micro + 1 == self._epoch_micros
            self._state.at = replace(
                at, step=at.step + stepped, epoch=at.epoch + self.ended, micro=0 if self.ended else at.micro + 1
            )
        self.freezing.count()
        return rate

    def _rate(self) -> float:
        return learning_rate(
            self._run.optim,
            self._run.schedule,
            step=self._state.at.step,
            total=self.total,
            epoch_steps=self._problem.data.steps_per_epoch,
            falls=self._state.plateau.falls,
        )


def advance(
    problem: Problem,
    engine: Engine,
    meter: Meter,
    batch: Batch,
    *,
    at: Position = Position(),  # noqa: B008  frozen
    mark: Callable[[str], None] = lambda part: None,
) -> bool:
    """One micro-batch forwards and backwards, without a wait for the GPU; True when that completed an optimizer step.

    Args:
        mark: called at the end of each part of it, with its name.
    """
    out = engine(**{name: batch[name] for name in problem.inputs})
    losses = problem.loss(out, batch)
    loss = sum(losses.values())
    mark("forward")
    engine.backward(loss)
    mark("backward")
    meter.add({"loss": loss} | {f"loss/{name}": value for name, value in losses.items()}, of=(at, batch["row"]))
    stepped = engine.step()
    if stepped and engine.gradient_norm is not None:
        meter.note("gradient_norm", engine.gradient_norm)
    mark("optimizer")
    return stepped
