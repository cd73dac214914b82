"""The cells task as the trainer finds it: options, default run and names; PyTorch is imported when a problem is built."""

from tarpon.train.config import DATA, Optim, Recipe, Run, Schedule
from tarpon.train.data_check import check_packed
from tarpon.train.registry import deferred
from tarpon.train.task import Task
from tarpon.train.tasks.cells.options import SPELLINGS, CellsOptions, read_published


def recipe() -> Recipe:
    """The default run: `deepspeed train/launch.py cells --data SHARDS`; ResNet-50 at 512 px, one 16 GB GPU."""
    return Recipe(
        run=Run(
            data=DATA,
            epochs=30,
            micro_batch=32,
            global_batch=32,
            freeze_backbone_epochs=0,
            early_stop_patience=0,
            seed=42,
            out="runs/cells",
            optim=Optim(lr=0.0001, weight_decay=0.0001),
            schedule=Schedule(kind="cosine", warmup_epochs=0.0, min_lr=1e-06),
        ),
        options=CellsOptions(),
    )


def name(run: Run, options: CellsOptions) -> str:
    """Backbone, window, batch, learning rate and fold: `resnet50_w1_b32_lr0.0001_fold0`."""
    fold = "" if options.fold is None else f"_fold{options.fold}"
    return f"{options.model.backbone.name}_w{options.model.window}_b{run.global_batch}_lr{run.optim.lr:g}{fold}"


CELLS = Task(
    options=CellsOptions,
    recipe=recipe,
    does="Infected or not, and hours since infection, from pages of time-lapse microscopy.",
    first=("model.backbone.name", "model.backbone.image_size", "model.window", "infection_onset_hour", "fold"),
    check=lambda run, options: check_packed(run.data, kind="cells"),
    build=deferred("tarpon.train.tasks.cells.task:build"),
    name=name,
    without_download=deferred("tarpon.train.tasks.cells.export:without_weights"),
    spellings=SPELLINGS,
    published=read_published,
)
