"""Runs of the cells task without a training: their weights are those before the first step."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tarpon.shards.sources.cells.source import CLASSES
from tarpon.train import checkpoint
from tarpon.train.config import parse, parser_for
from tarpon.train.engine import DistContext
from tarpon.train.evaluate import evaluate
from tarpon.train.folder import ENCODERS
from tarpon.train.tasks import TASKS
from tarpon.train.tasks.cells import export

TINY = ("--model.backbone.name=resnet10t", "--model.backbone.pretrained=false", "--micro_batch=5", "--global_batch=5")
PLACE = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=torch.device("cpu"))


def make_run(out: Path, shards, *words: str) -> Path:
    """A run folder with a checkpoint and predictions, of weights as they are before the first step."""
    task = TASKS["cells"]
    argv = [f"--data={shards.root}", f"--out={out}", "--infection_onset_hour=1", "--loader.threads=1", *TINY, *words]
    run, options, text = parse(parser_for(task.options, recipe=task.recipe(), task="cells"), task.options, argv)
    problem = task.build(run, options, PLACE)
    out.mkdir()
    (out / "run.yaml").write_text(text)
    (out / "run.json").write_text('{"task": "cells"}')
    (out / ENCODERS).write_text(json.dumps(problem.encoders))
    checkpoint.save_tensors(out / checkpoint.BEST, checkpoint.model_tensors(problem.model), {"step": 0})
    weights, packing = checkpoint.model_tensors(problem.model), shards.card["settings"]
    for split in ("val", "test"):
        evaluate(problem, split).save(out / "predictions" / f"{split}.npz")
    export.write_checkpoint(out / export.NAME, weights, {}, run=run, options=options, classes=CLASSES, packing=packing)
    return out


@pytest.fixture(scope="session")
def make_cells_run() -> Callable[..., Path]:
    """(out, shards, options...) -> run folder with best.safetensors, checkpoints/best.pt and predictions of val and test."""
    return make_run
