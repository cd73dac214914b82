"""The fish task as the trainer finds it: options, default run and names; PyTorch is imported when a problem is built."""

from pathlib import Path

from tarpon.shards.features import read_card
from tarpon.train.config import DATA, Optim, Recipe, Run, Schedule, WandbOptions
from tarpon.train.registry import deferred
from tarpon.train.task import Task
from tarpon.train.tasks.fish.options import IDLE, SPELLINGS, FishOptions


def recipe() -> Recipe:
    """The default run: `deepspeed train/launch.py fish --data FEATURES`; 75,000 rows fit any GPU."""
    return Recipe(
        run=Run(
            data=DATA,
            epochs=40,
            micro_batch=256,
            global_batch=256,
            freeze_backbone_epochs=0,
            early_stop_patience=10,
            seed=17,
            out="runs/fish",
            optim=Optim(lr=0.002, weight_decay=0.0),
            schedule=Schedule(kind="none", warmup_epochs=0.0),
            wandb=WandbOptions(project="fishnet"),
        ),
        options=FishOptions(),
    )


def check(run: Run, options: FishOptions) -> None:
    """ValueError where there is no finished cache of features."""
    read_card(Path(run.data))


def name(run: Run, options: FishOptions) -> str:
    """As the published system names its runs, but with every digit of the rate."""
    mantissa, _, exponent = f"{run.optim.lr:e}".partition("e")
    what = f"mmoe_e{options.model.experts}" if options.model.architecture == "mmoe" else f"multihead_l{options.model.layers}"
    return f"{what}_lr{float(mantissa):g}e{exponent}_bs{run.global_batch}"


FISH = Task(
    options=FishOptions,
    recipe=recipe,
    does="Family, order, habitat, trophic level (and feeding path) of fish, from cached features of images.",
    first=("model.architecture", "model.experts", "loss.weights", "standardize", "include_feedingpath"),
    check=check,
    build=deferred("tarpon.train.tasks.fish.task:build"),
    name=name,
    named_folder=True,
    without_download=lambda options: options,
    spellings=SPELLINGS,
    idle=IDLE,
)
