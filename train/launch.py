"""`deepspeed train/launch.py TASK [--config FILE] [--section.option VALUE]`: train, select, test once, write it all down."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # started as a script: our own file names must not hide other packages' modules

import torch

from tarpon.shards import atomic
from tarpon.train import checkpoint
from tarpon.train.checkpoint import Position
from tarpon.train.config import Run, UsageError, fail, parse, parser_for
from tarpon.train.engine import Engine, Place, connect, disconnect
from tarpon.train.evaluate import evaluate
from tarpon.train.loop import State, train
from tarpon.train.schedule import Plateau
from tarpon.train.sink import Fan, JsonLines, TensorBoard
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
        run, options, text = parse(parser, task.options, respelt(words[1:], task.spellings))
        place = connect()
        if place.first:
            prepare(run)
        problem = task.build(run, options, place)
        go(run, problem, place, task=words[0], text=text)
    except (ValueError, FloatingPointError, OSError) as error:
        if os.environ.get("TARPON_DEBUG"):
            raise
        return fail(error, program="train/launch.py") if first else 2
    return 0


def respelt(words: list[str], spellings: dict[str, str]) -> list[str]:
    """Options under their other names, as `--name value` or `--name=value`, turned into ours."""
    out = []
    for word in words:
        name, equals, value = word.partition("=")
        ours = spellings.get(name.removeprefix("--")) if name.startswith("--") else None
        out.append(f"--{ours}{equals}{value}" if ours else word)
    return out


def prepare(run: Run) -> None:
    """Make the run folder; a finished or running one is not overwritten by another run."""
    out = Path(run.out)
    if not run.resume and (out / "metrics.jsonl").exists():
        raise ValueError(f"{out} holds a run already; give another --out, go on with --resume true, or delete it")
    out.mkdir(parents=True, exist_ok=True)


def go(run: Run, problem: Problem, place: Place, *, task: str, text: str) -> None:
    """Train to the end and report: the test split is read once, with the best weights."""
    out, state = Path(run.out), State(at=Position(), plateau=Plateau())
    optimizer: dict = {}
    if run.resume:
        weights, optimizer, at, plateau = checkpoint.load_last(out, fingerprint=problem.fingerprint)
        checkpoint.load_weights(problem.model, weights, name=str(out / checkpoint.LAST))
        at = checkpoint.rescaled(at, steps_per_epoch=problem.steps_per_epoch, accumulation=run.accumulation(place.world))
        state = State(at=at, plateau=plateau)
    engine = Engine(
        place,
        problem.model,
        problem.groups,
        optim=run.optim,
        options=run.engine,
        micro_batch=run.micro_batch,
        accumulation=run.accumulation(place.world),
    )
    if optimizer:
        engine.load_optimizer_state(optimizer)
    sink = Fan()
    if place.first:
        sink = Fan(
            [
                JsonLines(out / "metrics.jsonl", keep_to=state.at.step),
                TensorBoard(out / "tensorboard", purge_step=state.at.step),
            ]
        )
        print("\n".join(problem.say), flush=True)
        print(smoke(problem, engine, run), flush=True)
        begin(out, place, engine, task=task, text=text)

    def save(state: State) -> None:
        engine.share_buffers()
        held = engine.optimizer_state()
        if place.first:
            checkpoint.save_last(
                out,
                model=checkpoint.model_tensors(problem.model),
                optimizer=held,
                at=state.at,
                plateau=state.plateau,
                fingerprint=problem.fingerprint,
            )
        engine.barrier()

    def keep_best(result: Result) -> None:
        if place.first:
            checkpoint.save_tensors(out / checkpoint.BEST, checkpoint.model_tensors(problem.model), {"step": state.at.step})
            result.save(out / "predictions" / "val.npz")
            for name, pixels in result.pictures().items():
                sink.image(state.at.step, f"val/{name}", pixels)

    def score(split: str) -> Result:
        engine.share_buffers()
        return evaluate(problem, split, autocast=engine.autocast, mean=engine.mean, gather=engine.gather)

    state = train(run, problem, engine, sink, state=state, evaluate=lambda: score("val"), save=save, keep_best=keep_best)
    engine.barrier()
    finish(out, problem, engine, sink, state, score)


def smoke(problem: Problem, engine: Engine, run: Run) -> str:
    """One batch's shapes, as the model will get them."""
    batch = next(iter(problem.split("val")))
    shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in batch.items() if value.ndim > 1)
    weights = sum(p.numel() for group in problem.groups.values() for p in group.values())
    place, precision = engine.place, "bf16" if engine.bf16 else "fp32"
    return "\n".join(
        [
            f"batch     {shapes}",
            f"steps     {problem.steps_per_epoch} an epoch, global batch {run.global_batch} over {place.world} process(es) on "
            f"{place.device.type}, {precision}, ZeRO {run.engine.zero_stage}",
            f"memory    weights and optimizer {16 * weights / 2**20:.0f} MiB, a batch {batch_bytes(batch) / 2**20:.0f} MiB",
        ]
    )


def batch_bytes(batch: dict) -> int:
    return sum(value.numel() * value.element_size() for value in batch.values())


def begin(out: Path, place: Place, engine: Engine, *, task: str, text: str) -> None:
    """run.yaml: the whole configuration, once nothing refuses it. run.json: which task, and what it runs on."""
    import deepspeed

    atomic.write_text(out / "run.yaml", text)
    gpu = torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else None
    atomic.write_text(
        out / "run.json",
        json.dumps(
            {
                "task": task,
                "started": time.strftime("%Y-%m-%d %H:%M:%S"),
                "python": platform.python_version(),
                "torch": torch.__version__,
                "deepspeed": deepspeed.__version__,
                "device": gpu or "cpu",
                "processes": place.world,
                "cores": len(os.sched_getaffinity(0)),
                "dtype": "bf16" if engine.bf16 else "fp32",
            },
            indent=2,
        )
        + "\n",
    )


def finish(out: Path, problem: Problem, engine: Engine, sink: Fan, state: State, score: Callable[[str], Result]) -> None:
    """Best weights back in, both splits scored with them, everything written."""
    best, meta = checkpoint.load_tensors(out / checkpoint.BEST)
    checkpoint.load_weights(problem.model, best, name=str(out / checkpoint.BEST))
    scores = {}
    for split in problem.splits:
        result = score(split)
        scores[split] = result.scalars
        if engine.place.first:
            result.save(out / "predictions" / f"{split}.npz")
            if split == "test":
                sink.write(
                    state.at.step, {f"test/{name}": value for name, value in result.scalars.items()}, epoch=state.at.epoch
                )
                for name, pixels in result.pictures().items():
                    sink.image(state.at.step, f"test/{name}", pixels)
    if engine.place.first:
        atomic.write_text(
            out / "metrics.json", json.dumps({**scores, "best_step": meta["step"], "steps": state.at.step}, indent=2) + "\n"
        )
        problem.export(out, best, scores["val"])
        sink.close()
        print(
            "  ".join(f"{split} {name} {scores[split][name]:.4f}" for split in scores for name in (problem.select, "loss")),
            flush=True,
        )
        print(f"run folder {out}", flush=True)
    engine.barrier()


if __name__ == "__main__":
    status = main(sys.argv[1:])
    disconnect()
    sys.exit(status)
