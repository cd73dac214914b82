"""The training loop: reads top to bottom, asks no task its name, waits for the GPU only in Meter.read.

(And at evaluations and checkpoints; with ZeRO 1 or 2 and a DeepSpeed before 0.19.7 once an optimizer step.)
"""

import time
from collections.abc import Callable

from tarpon.train.alive import Watch
from tarpon.train.config import Run
from tarpon.train.console import Console
from tarpon.train.ema import Ema
from tarpon.train.engine import Engine
from tarpon.train.meter import Meter
from tarpon.train.schedule import observe
from tarpon.train.sink import MultiSink
from tarpon.train.stepper import State, Stepper
from tarpon.train.stop import Agreement, Signals, Stopped
from tarpon.train.task import Problem, Result


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
    signals: Signals,
    watch: Watch,
) -> State:
    """Train from `state.at` to the run's last step, or until early stopping; evaluates, saves and logs on the way.

    Raises:
        Stopped: a signal came; all processes have saved after the same step.
    """
    meter, agreement = Meter(), Agreement(world=engine.context.world)
    stepper = Stepper(run, problem, engine, state=state, meter=meter)
    clock, saved = Clock(problem, stepper), time.monotonic()
    engine.train()
    with Console(run, problem, engine, sink, state=state, stepper=stepper) as console:
        while state.at.step < stepper.total and not is_enough(run, state):
            watch.at(f"step {state.at.step + 1}, training", steps=True)
            rate = stepper.step()
            step = state.at.step
            ema.update(step)
            console.step()
            stop, late = agreement.exchange(signals.asked, is_late(run, saved))
            evaluates = step == stepper.total or (stepper.ended and state.at.epoch % run.eval_every == 0)
            saves = evaluates or stop or late or (run.save_every and step % run.save_every == 0)
            if saves or stepper.ended or step % run.log_every == 0:  # saves: a checkpoint does not hold the meter
                scalars = meter.read(engine.mean) | {"lr": rate} | clock.read(engine.context.world)
                sink.write(step, scalars, epoch=state.at.epoch)
                console.read(scalars)
            if evaluates:
                watch.at(f"step {step}, evaluating")
                stepper.freezing.check()
                with console.part("evaluation"), ema.in_model():
                    result = evaluate()
                    if is_best(run, state, result.scalars[problem.select]):
                        keep_best(result)
                console.tell(result)
                engine.train()
            console.tell_time(ended=stepper.ended)
            if saves:
                watch.at(f"step {step}, saving")
                with console.part("saving"):
                    save(state)
                clock.restart()
                saved = time.monotonic()
            if stop and step < stepper.total:
                agreement.finish()
                raise Stopped(stop, saved=True)
        agreement.finish()
        console.tell_end(early=state.at.step < stepper.total)
    return state


def is_best(run: Run, state: State, value: float) -> bool:
    """Take in a validation score; whether it is the best so far."""
    state.plateau = observe(state.plateau, value, step=state.at.step, patience=run.schedule.patience)
    return state.plateau.since == 0


def is_enough(run: Run, state: State) -> bool:
    """Whether early stopping ends the run."""
    return bool(run.early_stop_patience) and state.plateau.since >= run.early_stop_patience


def is_late(run: Run, saved: float) -> bool:
    """Whether a checkpoint is due by the clock."""
    return bool(run.save_minutes) and time.monotonic() - saved > 60 * run.save_minutes


class Clock:
    """Throughput, and the share of time spent waiting for data."""

    def __init__(self, problem: Problem, stepper: Stepper) -> None:
        self._problem, self._stepper = problem, stepper
        self.restart()

    def restart(self) -> None:
        self._begun, self._waited, self._done = time.perf_counter(), self._problem.data.wait_s, self._stepper.done

    def read(self, world: int) -> dict[str, float]:
        spent = max(time.perf_counter() - self._begun, 1e-9)
        scalars = {
            f"{self._problem.unit}_per_s": (self._stepper.done - self._done) * world / spent,
            "loader/wait_share": (self._problem.data.wait_s - self._waited) / spent,
        }
        self.restart()
        return scalars
