"""What a training tells who watches it: how far it is, each evaluation, and where the time goes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from tarpon.train.config import Run
from tarpon.train.engine import Engine, cores
from tarpon.train.evaluate import left_out_words
from tarpon.train.progress import Place, Progress
from tarpon.train.sink import MultiSink
from tarpon.train.stepper import State, Stepper
from tarpon.train.task import Problem, Result
from tarpon.train.timing import Ledger
from tarpon.train.verdict import WAITS, Setting, advise, as_scalars, describe, waits

VERDICT_S = 10.0  # epochs that end sooner one after another are judged together,
VERDICT_SHARE = 0.01  # and so are those of less than this share of the training so far


class Console:
    """The words of one run on the first process, from `with` to its end; the other processes are silent.

    Args:
        state: of the run; read whenever something is told.
        stepper: takes the steps that are told of.
    """

    def __init__(self, run: Run, problem: Problem, engine: Engine, sink: MultiSink, *, state: State, stepper: Stepper) -> None:
        self._run, self._problem, self._sink, self._state, self._total = run, problem, sink, state, stepper.total
        self._epochs = -(-stepper.total // problem.data.steps_per_epoch)
        self._first, self._measured = engine.context.first, False
        self._ledger, self._setting = Ledger(stepper.timer, lambda: problem.data.wait_s), setting_of(run, engine)
        best = state.plateau.best if state.plateau.best_step else None
        place = Place(step=state.at.step, epoch=epoch_of(state), best=best)
        names = {"unit": problem.unit, "select": problem.select}
        self._progress = Progress(place, total=stepper.total, epochs=self._epochs, shown=self._first, **names)

    def __enter__(self) -> "Console":
        self._progress.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._progress.__exit__(*raised)

    def step(self) -> None:
        """A step is queued."""
        self._ledger.step()
        self._progress.step(self._state.at.step, epoch=epoch_of(self._state))

    def read(self, scalars: Mapping[str, float]) -> None:
        """The losses since the last reading, for which the loop has just waited for the GPU."""
        self._ledger.read()
        self._progress.read(scalars)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is done inside is no step: "evaluation", "saving" or "measuring"."""
        self._progress.begin(name)
        with self._ledger.of(name):
            yield

    def tell(self, result: Result) -> None:
        """One evaluation, to the sinks and as a line."""
        at, plateau, scores, select = self._state.at, self._state.plateau, result.scalars, self._problem.select
        self._sink.write(at.step, {f"val/{name}": value for name, value in scores.items()}, epoch=at.epoch)
        best = "best" if plateau.since == 0 else f"(best {plateau.best:.4f} at step {plateau.best_step})"
        self._progress.best(plateau.best)
        self._progress.say(
            f"step {at.step}/{self._total}  epoch {at.epoch}/{self._epochs}  val {select} {scores[select]:.4f} {best}  "
            f"loss {scores['loss']:.4f}{left_out_words(scores)}"
        )

    def tell_time(self, *, ended: bool) -> None:
        """Where the time went since that was last told, when an epoch has ended whose losses have been read."""
        if not ended or self._ledger.since_s < max(VERDICT_S, VERDICT_SHARE * self._ledger.whole.total_s):
            return
        spent, at = self._ledger.take(), self._state.at
        if waits(spent) > WAITS and self._first and not self._measured:
            self._measured = True
            with self.part("measuring"):
                share = self._problem.data.measure_augment_share()
            self._setting = replace(self._setting, augment_share=share)
        self._sink.write(at.step, as_scalars(spent), epoch=at.epoch)
        self._progress.say(f"time      {describe(spent, self._setting)}")

    def tell_end(self, *, early: bool) -> None:
        """Whether the training ends before its last step, and where the time went since the start."""
        at, plateau = self._state.at, self._state.plateau
        if early:
            self._progress.say(
                f"stopped early at step {at.step}: no better val {self._problem.select} in {plateau.since} evaluations, best "
                f"{plateau.best:.4f} at step {plateau.best_step}; --early_stop_patience {self._run.early_stop_patience}"
            )
        self._ledger.take()
        if self._ledger.whole.step_s:
            words = describe(self._ledger.whole, self._setting)
            more = advise(self._setting) if words.endswith("compute-bound") else ""
            self._progress.say(f"trained   {words}{more and f'; {more}'}")


def epoch_of(state: State) -> int:
    """The epoch that is worked on or has just ended, from 1."""
    return state.at.epoch + (state.at.micro > 0)


def setting_of(run: Run, engine: Engine) -> Setting:
    """What of this run a verdict on its time goes by."""
    own = cores(engine.context)
    gpu, compiled = engine.context.device.type == "cuda", run.engine.compile != "off"
    return Setting(gpu=gpu, bf16=engine.bf16, compiled=compiled, cores=own, threads=run.loader.threads or own)
