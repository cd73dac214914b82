"""`tarpon evaluate RUN`: a run's best weights scored again, on its own shards or on others."""

import json as jsonlib
from dataclasses import replace
from pathlib import Path

import torch

from tarpon.tools.table import table
from tarpon.train import checkpoint
from tarpon.train.config import parser_for, read_run
from tarpon.train.engine import Place
from tarpon.train.evaluate import evaluate
from tarpon.train.folder import read_encoders
from tarpon.train.tasks import TASKS

HEADLINES = (
    "macro_f1",
    "macro_f1_low",
    "macro_f1_high",
    "majority_macro_f1",
    "accuracy",
    "segment_f1_50",
    "edit",
    "keypoint_mae",
    "loss",
)


def run(run: str, *, data: str | None = None, split: str = "test", json: str | None = None) -> int:
    """Score a run's best weights on a split.

    Args:
        run: run folder.
        data: other shards than the run's own.
        split: train, val or test.
        json: file for all metrics.
    """
    folder = Path(run)
    task = TASKS[task_of(folder)]
    settings, options = read_run(folder, task.options, parser_for(task.options, recipe=task.recipe(), task=task_of(folder)))
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    place = Place(rank=0, world=1, local_rank=0, local_world=1, device=device)
    settings = replace(settings, data=data or settings.data, global_batch=settings.micro_batch)
    problem = task.build(settings, task.without_download(options), place, encoders=read_encoders(folder))
    best, _ = checkpoint.load_tensors(folder / checkpoint.BEST)
    checkpoint.load_weights(problem.model.to(device), best, name=str(folder / checkpoint.BEST))
    scalars = evaluate(problem, split).scalars
    print(
        "\n".join(
            table(
                (f"{split} of {settings.data}", ""), [(name, f"{scalars[name]:.4f}") for name in HEADLINES if name in scalars]
            )
        )
    )
    if json:
        Path(json).write_text(jsonlib.dumps({split: scalars}, indent=2) + "\n")
    return 0


def task_of(folder: Path) -> str:
    path = folder / "run.json"
    if not path.exists():
        raise ValueError(f"{folder}: no run.json here; give a run folder that train/launch.py wrote")
    name = jsonlib.loads(path.read_text())["task"]
    if name not in TASKS:
        raise ValueError(f"{path}: task {name!r} is not one of {', '.join(TASKS)}")
    return name
