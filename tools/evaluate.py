"""`tarpon evaluate RUN`: a run's best weights scored again, on its own shards or on others."""

import json as jsonlib
from dataclasses import replace
from pathlib import Path

import torch

from tarpon.tools.report import NOTHING, REPORTS
from tarpon.tools.table import table
from tarpon.train import checkpoint
from tarpon.train.config import parse, parser_for, read_run
from tarpon.train.engine import Place
from tarpon.train.evaluate import evaluate
from tarpon.train.folder import read_encoders
from tarpon.train.tasks import TASKS


def run(run: str, *, data: str | None = None, split: str = "test", change: str | None = None, json: str | None = None) -> int:
    """Score a run's best weights on a split; classes stay the run's own.

    Args:
        run: run folder.
        data: other shards or features than the run's own.
        split: train, val or test.
        change: options that differ from the run's, name=value with blanks between, such as unknown_labels=mask.
        json: file for all metrics.
    """
    folder = Path(run)
    name = task_of(folder)
    task = TASKS[name]
    settings, options = read_run(folder, task.options, parser_for(task.options, recipe=task.recipe(), task=name))
    if change:
        words = ["--config", str(folder / "run.yaml"), *(f"--{word}" for word in change.split())]
        settings, options, _ = parse(parser_for(task.options, recipe=task.recipe(), task=name), task.options, words)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    place = Place(rank=0, world=1, local_rank=0, local_world=1, device=device)
    settings = replace(settings, data=data or settings.data, global_batch=settings.micro_batch)
    problem = task.build(settings, task.without_download(options), place, encoders=read_encoders(folder))
    best, _ = checkpoint.load_tensors(folder / checkpoint.BEST)
    checkpoint.load_weights(problem.model.to(device), best, name=str(folder / checkpoint.BEST))
    scalars = evaluate(problem, split).scalars
    rows = [(told, f"{scalars[told]:.4f}") for told in headlines(name) if told in scalars]
    print("\n".join(table((f"{split} of {settings.data}", ""), rows)))
    if json:
        Path(json).write_text(jsonlib.dumps({split: scalars}, indent=2) + "\n")
    return 0


def headlines(task: str) -> list[str]:
    """Names of the scores that are printed: the report's, each with its interval and its bar, and the loss."""
    scores = [name for name, *_ in REPORTS.get(task, NOTHING).headlines]
    return [told for name in scores for told in (name, f"{name}_low", f"{name}_high", f"majority_{name}")] + ["loss"]


def task_of(folder: Path) -> str:
    path = folder / "run.json"
    if not path.exists():
        raise ValueError(f"{folder}: no run.json here; give a run folder that train/launch.py wrote")
    name = jsonlib.loads(path.read_text())["task"]
    if name not in TASKS:
        raise ValueError(f"{path}: task {name!r} is not one of {', '.join(TASKS)}")
    return name
