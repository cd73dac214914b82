"""`deepspeed train/launch.py TASK [--config FILE] [--section.option VALUE]`: train, select, test once, write it all down."""

# ruff: noqa: E402  what is done before the imports must be: they take seconds, in which a signal may come

import os
import signal
import sys
import traceback
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # started as a script: our own file names must not hide other packages' modules

from tarpon.train import noise
from tarpon.train.ancestors import launchers

launchers()  # found now: by the time that PyTorch is imported the launcher may have been ended
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main` listens: no traceback out of the imports below
    from tarpon.train.command_line import answer_early

    if (early := answer_early(sys.argv[1:], program="train/launch.py")) is not None:
        sys.exit(early)  # help and mistakes do not wait for them
    noise.begin()

import yaml

from tarpon.train import checkpoint
from tarpon.train.alive import Watch
from tarpon.train.checkpoint import Position
from tarpon.train.collect import collect
from tarpon.train.command_line import read_request
from tarpon.train.config import Run, flat
from tarpon.train.dump import write_dump
from tarpon.train.ema import Ema
from tarpon.train.engine import DistContext, Engine, agree_with_rank0, connect, disconnect
from tarpon.train.evaluate import evaluate
from tarpon.train.folder import RunFolder, read_encoders
from tarpon.train.graph_head import capture_head
from tarpon.train.introduction import introduce
from tarpon.train.launchers import read_rank
from tarpon.train.lock import Lock
from tarpon.train.loop import train
from tarpon.train.meter import NonFinite
from tarpon.train.resume import choose_run
from tarpon.train.schedule import Plateau
from tarpon.train.sink import JsonLines, MultiSink, TensorBoard, WandB
from tarpon.train.stepper import State
from tarpon.train.stop import Signals, Stopped
from tarpon.train.task import Problem, Result
from tarpon.train.usage import fail

PROGRAM = "train/launch.py"


@dataclass
class Job:
    """What this process holds while it trains, to be let go however that ends."""

    signals: Signals
    lock: Lock = field(default_factory=Lock)
    watch: Watch | None = None
    out: str = ""

    def close(self) -> None:
        self.lock.release()
        if self.watch:
            self.watch.close()


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 1 a fault, 2 the user's mistake (one line said), 130 and 143 stopped by Ctrl-C and SIGTERM."""
    first = read_rank(os.environ) == 0
    with Signals() as signals:
        job = Job(signals)
        try:
            launch(argv, job)
        except Stopped as stopped:
            if first:
                print(f"{PROGRAM}: {tell_stop(stopped, job)}", file=sys.stderr, flush=True)
            return stopped.status
        except (ValueError, FloatingPointError, OSError) as error:
            if os.environ.get("TARPON_DEBUG"):
                raise
            return report(error, job, first=first, status=2)
        except RuntimeError as error:
            if job.watch is None or not job.watch.others:
                raise
            return report(error, job, first=first, status=1)
        finally:
            job.close()
    return 0


def report(error: Exception, job: Job, *, first: bool, status: int) -> int:
    """Say what ended the run, once for all processes: which of them, where and why."""
    if isinstance(error, OSError) and error.errno and job.out:
        where = os.fsdecode(error.filename) if error.filename else job.out
        error = OSError(f"{where}: {error.strerror}; the same command goes on from the last checkpoint in {job.out}")
    if job.watch is None or not job.watch.others:
        return fail(error, program=PROGRAM) if first else status
    if (words := job.watch.report(error)) is not None:
        if status == 1:
            noise.tell_last_words()
            traceback.print_exception(error)
        fail(ValueError(words), program=PROGRAM)
    return status


def tell_stop(stopped: Stopped, job: Job) -> str:
    """How a run was stopped and how it goes on, in one line."""
    by = "Ctrl-C" if stopped.number == signal.SIGINT else stopped.args[0]
    if stopped.saved:
        return f"stopped by {by}, saved in {job.out}; the same command goes on from there"
    at = f" at {job.watch.place}" if job.watch else ""
    return f"stopped by {by}{at}; the same command goes on from the last checkpoint, or begins again where there is none"


def launch(argv: list[str], job: Job) -> None:
    """From the command line to the end of the training."""
    request = read_request(argv)
    task, run, options, text = request.task, request.run, request.options, request.text
    if run.verbose:
        noise.release()
    if read_rank(os.environ) == 0:
        print(f"train     {request.name} on {run.data}", flush=True)
    with noise.taking():
        context, name = connect(timeout_min=run.engine.collective_timeout_min), task.name(run, options)
    job.watch = Watch(
        rank=context.rank,
        world=context.world,
        timeout_s=run.engine.rank_timeout_s,
        launcher_ended=lambda: job.signals.ask(signal.SIGTERM),
    )
    folder_name = name if task.named_folder else None
    run, said = agree_with_rank0(context, lambda: choose_run(run, name=folder_name, text=text))
    job.out = run.out
    problem = task.build(run, options, context, encoders=read_encoders(Path(run.out)) if run.resume else None)
    go(run, problem, context, job, task=request.name, name=name, text=text, said=said)


def go(
    run: Run, problem: Problem, context: DistContext, job: Job, *, task: str, name: str, text: str, said: tuple[str, ...]
) -> None:
    """Train to the end and report: the test split is read once, with the best weights."""
    out = Path(run.out)
    if run.resume and out.is_dir():
        agree_with_rank0(context, lambda: job.lock.take(out))
    last = checkpoint.load_last(out, fingerprint=problem.fingerprint) if run.resume else None
    with noise.taking():
        engine, ema, state = begin(run, problem, context, last)
        capture_head(run, problem, engine)
    if last:
        said = (*said, *(f"resume    passed over {line}" for line in last.passed))
        said = (*said, f"resume    from step {state.at.step} of {last.path}")
    config, folder = flat(yaml.safe_load(text)), RunFolder(out, problem, engine, ema, keep=run.keep_checkpoints)
    if context.first:
        print("\n".join((*problem.summary_lines, *said)), flush=True)
        print(introduce(problem, engine, run), flush=True)
    agree_with_rank0(context, lambda: hold(out, job))  # not before: what is refused leaves no folder behind
    noise.keep_in(out)
    folder.begin(task=task, text=text)
    sink = sinks(run, problem, task=task, name=name, step=state.at.step, config=config) if context.first else MultiSink()
    folder.write_to(sink)

    def score(split: str) -> Result:
        engine.share_buffers()
        over_processes = {"collect": partial(collect, context), "agree": partial(agree_with_rank0, context)}
        return evaluate(problem, split, autocast=engine.autocast, mean=engine.mean, **over_processes)

    try:
        with job.signals.noting():
            state = train(
                run,
                problem,
                engine,
                sink,
                state=state,
                ema=ema,
                evaluate=lambda: score("val"),
                save=folder.save,
                keep_best=lambda result: folder.keep_best(result, step=state.at.step),
                signals=job.signals,
                watch=job.watch,
            )
        job.watch.at(f"step {state.at.step}, scoring")
        folder.finish(state, score, task=task, config=config)
    except NonFinite as error:
        raise write_dump(out, error, problem=problem, engine=engine, task=task) from error
    finally:
        sink.close()


def begin(run: Run, problem: Problem, context: DistContext, last: checkpoint.Last | None) -> tuple[Engine, Ema, State]:
    """The model under its engine, its average and the position: at the start, or where a checkpoint has them."""
    if last is None:
        engine = Engine.of(run, context, problem.model, problem.groups)
        return engine, Ema(problem.model, run.ema), State(at=Position(), plateau=Plateau())
    checkpoint.load_weights(problem.model, last.model, name=str(last.path))
    engine, ema = Engine.of(run, context, problem.model, problem.groups), Ema(problem.model, run.ema)
    engine.load_optimizer_state(last.optimizer)
    ema.load(last.ema)
    problem.remember(last.memory)
    steps, accumulation = problem.data.steps_per_epoch, run.accumulation(context.world)
    at = checkpoint.rescale(last.at, steps_per_epoch=steps, accumulation=accumulation)
    return engine, ema, State(at=at, plateau=last.plateau)


def hold(out: Path, job: Job) -> None:
    """Make the run folder, this process's alone."""
    out.mkdir(parents=True, exist_ok=True)
    job.lock.take(out)


def sinks(run: Run, problem: Problem, *, task: str, name: str, step: int, config: dict) -> MultiSink:
    """Where this run's numbers go; what an earlier part of it wrote past `step` is dropped."""
    out, main = Path(run.out), (problem.select, "loss", *problem.main)
    chosen = [JsonLines(out / "metrics.jsonl", keep_to=step), TensorBoard(out / "tensorboard", keep_to=step, main=main)]
    if run.wandb.enabled:
        chosen.append(
            WandB(
                out,
                project=run.wandb.project,
                entity=run.wandb.entity,
                name=run.wandb.name or run.name or name,
                config=config,
                tags=(task,),
            )
        )
    return MultiSink(chosen)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    if status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # the other processes may be gone or stuck: leaving their group in good order could wait for them
    disconnect()
    sys.exit(status)
