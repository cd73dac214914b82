"""Options of small trainings by task, and a task met with its data by them."""

from collections.abc import Sequence
from pathlib import Path

from tarpon.train.config import parse, parser_for
from tarpon.train.engine import DistContext
from tarpon.train.task import Problem
from tarpon.train.tasks import TASKS

TINY: dict[str, tuple[str, ...]] = {  # networks that cost nothing; pictures are what is looked at
    "mouse": (
        "--model.backbone.name=test_vit",
        "--model.backbone.pretrained=false",
        "--model.backbone.image_size=64",
        "--model.hidden=16",
        "--window.train_frames=16",
        "--window.val_frames=120",
        "--micro_batch=2",
        "--global_batch=2",
        "--augment.flip_p=0.5",
    ),
    "cells": (
        "--model.backbone.name=test_resnet",
        "--model.backbone.pretrained=false",
        "--model.backbone.image_size=64",
        "--model.hidden_dim=16",
        "--micro_batch=4",
        "--global_batch=4",
        "--infection_onset_hour=1",
    ),
    "star": (
        "--model.backbone.name=test_resnet",
        "--model.backbone.pretrained=false",
        "--model.backbone.image_size=80",
        "--model.width=32",
        "--model.embedding_dim=16",
        "--micro_batch=8",
        "--global_batch=8",
    ),
}


def problem(name: str, shards: Path, words: Sequence[str], context: DistContext) -> Problem:
    """The task of this name met with its shards."""
    kind = TASKS[name]
    parser = parser_for(kind.options, recipe=kind.recipe(), task=name)
    run, options, _ = parse(parser, kind.options, [f"--data={shards}", *words])
    return kind.build(run, options, context)
