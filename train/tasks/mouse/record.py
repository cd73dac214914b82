"""The mouse task as the trainer finds it: options, default run and names; PyTorch is imported when a problem is built."""

from dataclasses import replace

from tarpon.train.config import DATA, Recipe, Run
from tarpon.train.data_check import check_packed
from tarpon.train.registry import deferred
from tarpon.train.task import Task
from tarpon.train.tasks.mouse.names import run_name
from tarpon.train.tasks.mouse.options import MouseOptions
from tarpon.train.tasks.mouse.spellings import REFUSED, SPELLINGS


def recipe() -> Recipe:
    """The default run: `deepspeed train/launch.py mouse --data SHARDS`; DINOv2 ViT-S at 224 px, one 16 GB GPU."""
    return Recipe(run=Run(data=DATA), options=MouseOptions())


def name(run: Run, options: MouseOptions) -> str:
    """As the published system names its runs."""
    return run_name(
        backbone=options.model.encoder.name,
        batch=run.global_batch,
        lr=run.optim.lr,
        gamma=options.loss.focal_gamma,
        smoothing=options.loss.label_smoothing,
        weight_decay=run.optim.weight_decay,
    )


def without_download(options: MouseOptions) -> MouseOptions:
    """The same network with random weights, to load trained ones over."""
    return replace(options, model=options.model.without_weights())


MOUSE = Task(
    options=MouseOptions,
    name=name,
    recipe=recipe,
    does="Behaviour of every frame, and keypoints, from videos with or without pose files.",
    first=("model.backbone.name", "model.backbone.image_size", "window.train_frames", "classes", "merge"),
    check=lambda run, options: check_packed(run.data, kind="mouse"),
    build=deferred("tarpon.train.tasks.mouse.task:build"),
    without_download=without_download,
    spellings=SPELLINGS,
    refused=REFUSED,
)
