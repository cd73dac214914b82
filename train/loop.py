"""The training loop: reads top to bottom, asks no task its name, waits for the GPU only in Meter.read.

(And at evaluations and checkpoints; with ZeRO 1 or 2 DeepSpeed's clipping waits once an optimizer step.)
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from tqdm import tqdm

from tarpon.train.checkpoint import Position
from tarpon.train.config import Run
from tarpon.train.ema import Ema
from tarpon.train.engine import Engine
from tarpon.train.meter import Meter
from tarpon.train.parameter_check import ParameterCheck
from tarpon.train.schedule import Plateau, learning_rate, observe
from tarpon.train.sink import MultiSink
from tarpon.train.task import Batch, Problem, Result

PROOF_STEPS = 10  # optimizer steps after which a trained part must have moved


@dataclass
class State:
    """What a checkpoint holds beside tensors."""

    at: Position
    plateau: Plateau


def train(
    run: Run,
    problem: Problem,
    engine: Engine,
    sink: MultiSink,
    *,
    state: State,
    ema: Ema,
    evaluate: Callable[[], Result],
    save: Callable[[State], None],
    keep_best: Callable[[Result], None],
) -> State:
    """Train from `state.at` to the run's last step, or until early stopping; evaluates, saves and logs on the way."""
    accumulation = run.accumulation(engine.context.world)
    epoch_micros = problem.data.steps_per_epoch * accumulation
    total = run.steps or run.epochs * problem.data.steps_per_epoch
    meter, clock = Meter(), Clock(problem)
    # as it was for the step before: a run resumed where the backbone thaws must go through the thaw
    freezing = Freezing(problem, engine, frozen=max(state.at.epoch - (state.at.micro == 0), 0) < run.freeze_backbone_epochs)
    bar = tqdm(
        total=total,
        initial=state.at.step,
        unit="step",
        desc="train",
        disable=not engine.context.first or not sys.stderr.isatty(),
    )
    batches = problem.data.batches(state.at.epoch, state.at.micro)
    engine.train()
    while state.at.step < total and not (run.early_stop_patience and state.plateau.since >= run.early_stop_patience):
        at, batch = state.at, next(batches)
        freezing.set(at.epoch < run.freeze_backbone_epochs)
        rate = learning_rate(
            run.optim,
            run.schedule,
            step=at.step,
            total=total,
            epoch_steps=problem.data.steps_per_epoch,
            falls=state.plateau.falls,
        )
        engine.set_rate(rate, backbone=not freezing.frozen)
        # dropout is a function of the position in the run, so resuming needs no generator state
        torch.manual_seed(
            (run.seed * 1_000_003 + at.epoch * epoch_micros + at.micro) * engine.context.world + engine.context.rank
        )
        stepped = advance(problem, engine, meter, batch)
        clock.add(problem.count(batch))
        ended = at.micro + 1 == epoch_micros
        at = replace(at, step=at.step + stepped, epoch=at.epoch + ended, micro=0 if ended else at.micro + 1)
        state.at = at
        if not stepped:
            continue
        bar.update()
        freezing.count()
        ema.update(at.step)
        evaluates = at.step == total or (ended and at.epoch % run.eval_every == 0)
        saves = evaluates or (run.save_every and at.step % run.save_every == 0)
        if saves or at.step % run.log_every == 0:  # a checkpoint does not hold the meter: a resumed run starts it anew too
            scalars = meter.read(engine.mean) | {"lr": rate} | clock.read(engine.context.world)
            sink.write(at.step, scalars, epoch=at.epoch)
            bar.set_postfix({"loss": f"{scalars['loss']:.3f}", "wait": f"{scalars['loader/wait_share']:.0%}"})
        if evaluates:
            freezing.check()
            with ema.in_model():
                result = evaluate()
                value = result.scalars[problem.select]
                state.plateau = observe(state.plateau, value, step=at.step, patience=run.schedule.patience)
                if state.plateau.since == 0:
                    keep_best(result)
            tell(result, problem, engine, sink, state=state, total=total)
            engine.train()
        if saves:
            save(state)
            clock.restart()
    bar.close()
    return state


def advance(problem: Problem, engine: Engine, meter: Meter, batch: Batch) -> bool:
    """One micro-batch forwards and backwards, without a wait for the GPU; True when that completed an optimizer step."""
    out = engine(**{name: batch[name] for name in problem.inputs})
    losses = problem.loss(out, batch)
    loss = sum(losses.values())
    engine.backward(loss)
    meter.add({"loss": loss} | {f"loss/{name}": value for name, value in losses.items()})
    return engine.step()


def tell(result: Result, problem: Problem, engine: Engine, sink: MultiSink, *, state: State, total: int) -> None:
    """One evaluation to the sinks and as a line to read."""
    at = state.at
    sink.write(at.step, {f"val/{name}": value for name, value in result.scalars.items()}, epoch=at.epoch)
    if engine.context.first:
        tqdm.write(
            f"step {at.step}/{total}  epoch {at.epoch}  val {problem.select} {result.scalars[problem.select]:.4f}  loss "
            f"{result.scalars['loss']:.4f}" + ("  best" if state.plateau.since == 0 else "")
        )


class Freezing:
    """Holds the backbone still or lets it learn, and proves that it does."""

    def __init__(self, problem: Problem, engine: Engine, *, frozen: bool) -> None:
        self._problem, self._engine = problem, engine
        self.frozen = frozen
        problem.freeze(frozen)
        self._watched = {part: ParameterCheck(problem.groups, part) for part in ("backbone", "rest")}
        self._steps = {"backbone": 0, "rest": 0}  # optimizer steps since the part began to learn

    def set(self, frozen: bool) -> None:
        if frozen == self.frozen:
            return
        self._watched["backbone"].expect_still()
        self.frozen = frozen
        self._problem.freeze(frozen)
        self._engine.restart("backbone")

    def count(self) -> None:
        for part in self._steps:
            self._steps[part] += not (part == "backbone" and self.frozen)

    def check(self) -> None:
        """Once per part, when it has learnt for a while."""
        if self.frozen and "backbone" in self._watched:
            self._watched["backbone"].expect_still()
        for part in [part for part, watch in self._watched.items() if self._steps[part] >= PROOF_STEPS]:
            still = self._watched.pop(part).expect_moved()
            if still and self._engine.context.first:
                print(
                    f"warning: {len(still)} parameters of the {part} have not moved (unused by the model?): "
                    f"{', '.join(still[:5])}",
                    flush=True,
                )


class Clock:
    """Throughput, and the share of time spent waiting for data."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.restart()

    def restart(self) -> None:
        self._begun, self._waited, self._done = time.perf_counter(), self._problem.data.wait_s, 0

    def add(self, done: int) -> None:
        self._done += done

    def read(self, world: int) -> dict[str, float]:
        spent = max(time.perf_counter() - self._begun, 1e-9)
        scalars = {
            f"{self._problem.unit}_per_s": self._done * world / spent,
            "loader/wait_share": (self._problem.data.wait_s - self._waited) / spent,
        }
        self.restart()
        return scalars
