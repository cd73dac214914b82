"""The star task as the trainer finds it: options, default run and names; PyTorch is imported when a problem is built."""

from tarpon.train.config import DATA, Optim, Recipe, Run, Schedule
from tarpon.train.data_check import check_packed
from tarpon.train.registry import deferred
from tarpon.train.task import Task
from tarpon.train.tasks.star.options import IDLE, REFUSED, SPELLINGS, StarOptions


def recipe() -> Recipe:
    """The default run, stars alone: `deepspeed train/launch.py star --data SHARDS`; Swin V2 tiny at 384 px, one 24 GB GPU.

    train/recipes/star/{pretrain,finetune,cotrain}.yaml hold the published epochs and rates of the other strategies.
    """
    return Recipe(
        run=Run(
            data=DATA,
            epochs=100,
            micro_batch=32,
            global_batch=32,
            freeze_backbone_epochs=0,
            early_stop_patience=0,
            eval_every=5,
            seed=42,
            out="runs/star",
            optim=Optim(lr=0.0001, weight_decay=0.0001, backbone_lr_scale=0.1),
            schedule=Schedule(kind="cosine", warmup_epochs=5.0, min_lr=1e-06),
        ),
        options=StarOptions(),
    )


def check(run: Run, options: StarOptions) -> None:
    """ValueError where a data set is no packed one of photographs."""
    for root in (run.data, options.wildlife):
        if root:
            check_packed(root, kind="reid")


def name(run: Run, options: StarOptions) -> str:
    """As the published grid names its runs."""
    terms = [term for term in ("circle", "triplet", "identity") if getattr(options.loss, f"{term}_weight")]
    return f"{options.strategy}_{'_'.join(terms)}"


STAR = Task(
    options=StarOptions,
    recipe=recipe,
    does="Which animal a photograph shows: embeddings by metric learning, with or without pre-training on wildlife.",
    first=("strategy", "checkpoint", "wildlife", "model.backbone.name", "model.backbone.image_size"),
    check=check,
    build=deferred("tarpon.train.tasks.star.task:build"),
    name=name,
    without_download=deferred("tarpon.train.tasks.star.export:without_weights"),
    spellings=SPELLINGS,
    refused=REFUSED,
    idle=IDLE,
)
