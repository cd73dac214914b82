"""`deepspeed train/launch.py TASK [--config FILE] [--section.option VALUE]`: train, select, test once, write it all down."""

import os
import sys
from pathlib import Path

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # started as a script: our own file names must not hide other packages' modules

import yaml

from tarpon.train import checkpoint
from tarpon.train.checkpoint import Position
from tarpon.train.config import Run, UsageError, fail, parse, parser_for
from tarpon.train.ema import Ema
from tarpon.train.engine import DistContext, Engine, broadcast_from_rank0, connect, disconnect
from tarpon.train.evaluate import evaluate
from tarpon.train.folder import RunFolder, chosen, read_encoders
from tarpon.train.loop import State, train
from tarpon.train.schedule import Plateau
from tarpon.train.sink import JsonLines, MultiSink, TensorBoard, WandB
from tarpon.train.spelling import translate_options
from tarpon.train.task import Problem, Result
from tarpon.train.tasks import TASKS


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 2 the user's mistake (one line said)."""
    words = [word for word in argv if not word.startswith("--local_rank") and word != "--deepspeed"]
    words = [
        word.replace("--deepspeed_config", "--engine.deepspeed_config", 1) if word.startswith("--deepspeed_config") else word
        for word in words
    ]
    first = os.environ.get("RANK", "0") == "0"
    try:
        if not words or words[0] not in TASKS:
            raise UsageError(f"task {words[0] if words else '(none)'!r} must be one of {', '.join(TASKS)}")
        task = TASKS[words[0]]
        parser = parser_for(task.options, recipe=task.recipe(), task=words[0])
        spelt = translate_options(words[1:], task.spellings, task.refused, task.published, task.idle)
        run, options, text = parse(parser, task.options, spelt)
        context, name = connect(), task.name(run, options)
        run = broadcast_from_rank0(context, chosen(run, name=name if task.named_folder else None) if context.first else None)
        problem = task.build(run, options, context, encoders=read_encoders(Path(run.out)) if run.resume else None)
        go(run, problem, context, task=words[0], name=name, text=text)
    except (ValueError, FloatingPointError, OSError) as error:
        if os.environ.get("TARPON_DEBUG"):
            raise
        return fail(error, program="train/launch.py") if first else 2
    return 0


def go(run: Run, problem: Problem, context: DistContext, *, task: str, name: str, text: str) -> None:
    """Train to the end and report: the test split is read once, with the best weights."""
    out, state = Path(run.out), State(at=Position(), plateau=Plateau())
    last = checkpoint.load_last(out, fingerprint=problem.fingerprint) if run.resume else None
    if last:
        checkpoint.load_weights(problem.model, last.model, name=str(out / checkpoint.LAST))
        at = checkpoint.rescaled(
            last.at, steps_per_epoch=problem.data.steps_per_epoch, accumulation=run.accumulation(context.world)
        )
        state = State(at=at, plateau=last.plateau)
    engine, ema = Engine.of(run, context, problem.model, problem.groups), Ema(problem.model, run.ema)
    if last:
        engine.load_optimizer_state(last.optimizer)
        ema.load(last.ema)
    config = flat(yaml.safe_load(text))
    if context.first:
        print("\n".join(problem.summary_lines), flush=True)
        print(smoke(problem, engine, run), flush=True)
        out.mkdir(parents=True, exist_ok=True)  # not before: what is refused leaves no folder behind
    sink = sinks(run, task=task, name=name, step=state.at.step, config=config) if context.first else MultiSink()
    folder = RunFolder(out, problem, engine, ema, sink)
    folder.begin(task=task, text=text)

    def score(split: str) -> Result:
        engine.share_buffers()
        return evaluate(problem, split, autocast=engine.autocast, mean=engine.mean, gather=engine.gather)

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
    )
    folder.finish(state, score, config=config)


def sinks(run: Run, *, task: str, name: str, step: int, config: dict) -> MultiSink:
    """Where this run's numbers go; what an earlier part of it wrote past `step` is dropped."""
    out = Path(run.out)
    chosen = [JsonLines(out / "metrics.jsonl", keep_to=step), TensorBoard(out / "tensorboard", purge_step=step)]
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


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """Nested options as dotted names with plain values."""
    out: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            out |= flat(value, f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}"] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return out


def smoke(problem: Problem, engine: Engine, run: Run) -> str:
    """One batch's shapes, as the model will get them."""
    batch = next(iter(problem.data.split("val")))
    shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in batch.items() if value.ndim > 1)
    weights = sum(p.numel() for group in problem.groups.values() for p in group.values())
    context, precision = engine.context, "bf16" if engine.bf16 else "fp32 (matrix products in tf32)" if engine.tf32 else "fp32"
    return "\n".join(
        [
            f"batch     {shapes}",
            f"steps     {problem.data.steps_per_epoch} an epoch, global batch {run.global_batch} over "
            f"{context.world} process(es) on {context.device.type}, {precision}, ZeRO {run.engine.zero_stage}",
            f"speed     {engine.speed}",
            f"memory    weights and optimizer {16 * weights / 2**20:.0f} MiB, a batch {batch_bytes(batch) / 2**20:.0f} MiB",
        ]
    )


def batch_bytes(batch: dict) -> int:
    return sum(value.numel() * value.element_size() for value in batch.values())


if __name__ == "__main__":
    status = main(sys.argv[1:])
    disconnect()
    sys.exit(status)
