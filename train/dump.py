"""What is left of a step whose loss or gradient was no number, so that it can be made again and looked into."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from tarpon.shards import atomic
from tarpon.train import checkpoint
from tarpon.train.engine import Engine
from tarpon.train.meter import NonFinite
from tarpon.train.task import Problem

FOLDER, DUMP, CHECKPOINT = "nonfinite", "dump.json", "checkpoint.safetensors"
SHOWN = 8  # keys in the message; the file has all


@dataclass(frozen=True, kw_only=True)
class Dump:
    """One step that went wrong."""

    run: str  # the run folder
    task: str
    step: int  # the optimizer step, counted from 1
    keys: list[str]  # of its samples, over all processes
    processes: int
    scalars: dict[str, str]  # means that gave it away


def write_dump(out: Path, error: NonFinite, *, problem: Problem, engine: Engine, task: str) -> FloatingPointError:
    """Write OUT/nonfinite/step_N and return the error to raise. Collective: every process must call it.

    The newest checkpoint is kept beside it: what follows it is a function of the position alone and is made again.
    """
    steps = engine.gather(error.at.step if error.at else None)
    if not any(step is not None for step in steps):
        return error  # every process's losses are numbers: of an evaluation, or only their sum is none
    step = min(step for step in steps if step is not None)
    rows = [row for part in engine.gather(error.rows.get(step, [])) for row in part]
    keys = [str(problem.keys[row]) if len(problem.keys) else f"row {row}" for row in rows]
    folder = out / FOLDER / f"step_{step + 1}"
    if engine.context.first:
        folder.mkdir(parents=True, exist_ok=True)
        for newest in list(checkpoint.list_checkpoints(out).values())[:1]:
            keep(newest, folder / CHECKPOINT)
        dump = Dump(
            run=str(out.resolve()),
            task=task,
            step=step + 1,
            keys=keys,
            processes=engine.context.world,
            scalars={name: str(value) for name, value in error.scalars.items()},
        )
        atomic.write_text(folder / DUMP, json.dumps(asdict(dump), indent=2) + "\n")
    engine.barrier()
    shown = ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
    return FloatingPointError(
        f"non-finite loss or gradient at step {step + 1}, samples {shown}; `tarpon replay {folder}` makes the step again and "
        f"says what is not finite; then lower optim.lr, or leave these samples out"
    )


def read_dump(folder: Path) -> Dump:
    """ValueError in one line when the folder holds none."""
    path = folder / DUMP
    if not path.is_file():
        raise ValueError(f"{folder}: no {DUMP} here; give a folder RUN/{FOLDER}/step_N that a training wrote")
    try:
        return Dump(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a dump of a step ({error})") from error


def keep(source: Path, target: Path) -> None:
    """A second name of a file that is never changed in place, or a copy where the file system knows no second names."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
