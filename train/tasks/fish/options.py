"""What can be set for the fish task: frozen records that check themselves."""

from dataclasses import dataclass, field
from typing import Literal

from tarpon.train import device_option
from tarpon.train.plan_kind import PlanKind, check_plan
from tarpon.train.tasks.fish.heads import HEADS

TASKS = tuple(name for name, head in HEADS.items() if not head.optional)
OPTIONAL = tuple(name for name, head in HEADS.items() if head.optional)


@dataclass(frozen=True, kw_only=True)
class FishModel:
    """The network on feature vectors."""

    # mmoe: a gate a task over shared experts; multihead: independent heads, the baseline
    architecture: Literal["mmoe", "multihead"] = "mmoe"
    experts: int = 4  # mmoe: experts that the gates mix
    hidden: int = 2048  # features of an expert
    tower: int = 1024  # features of a tower, or of a hidden layer of the baseline
    layers: int = 2  # multihead: linear layers of a head; 1 is a linear probe
    dropout: float = 0.1  # share of features dropped in experts, towers and heads
    temperature: float = 1.0  # mmoe: what gate scores are divided by; higher mixes the experts more evenly

    def __post_init__(self) -> None:
        if self.architecture not in ("mmoe", "multihead"):
            raise ValueError(f"model.architecture={self.architecture!r} must be mmoe or multihead")
        if min(self.experts, self.hidden, self.tower, self.layers) < 1:
            raise ValueError(
                f"model: experts={self.experts}, hidden={self.hidden}, tower={self.tower} and layers={self.layers} must be "
                f"at least 1"
            )
        if not 0 <= self.dropout < 1 or self.temperature <= 0:
            raise ValueError(f"model: dropout={self.dropout} must be in [0, 1), temperature={self.temperature} above 0")


@dataclass(frozen=True, kw_only=True)
class FishLoss:
    """How the tasks' terms are made and added up."""

    # of the terms of family, order, habitat, troph; a fifth for feeding, else 0.5
    weights: tuple[float, ...] = (1.0, 0.5, 0.5, 0.5)
    uncertainty_weighting: bool = False  # learn one log-variance a task on top
    # balanced: rare classes and rare yeses count more; absent ones not at all
    class_weighting: Literal["none", "balanced"] = "none"
    label_smoothing: float = 0.0  # share of a label spread over the other classes
    logit_adjustment: float = 0.0  # for rare classes: this times the log of a class's share is added to its score in training

    def __post_init__(self) -> None:
        if len(self.weights) not in (len(TASKS), len(TASKS) + 1) or min(self.weights) < 0:
            raise ValueError(
                f"loss.weights={list(self.weights)} must be {len(TASKS)} or {len(TASKS) + 1} numbers of at least 0: "
                f"{', '.join(TASKS)} and perhaps {', '.join(OPTIONAL)}"
            )
        if self.class_weighting not in ("none", "balanced"):
            raise ValueError(f"loss.class_weighting={self.class_weighting!r} must be none or balanced")
        if self.logit_adjustment < 0:
            raise ValueError(f"loss.logit_adjustment={self.logit_adjustment} must be at least 0; 1 is the balanced softmax")
        if self.logit_adjustment and self.class_weighting == "balanced":
            raise ValueError("loss: class_weighting=balanced and logit_adjustment both raise rare classes; give one of them")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"loss.label_smoothing={self.label_smoothing} must be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class FishOptions:
    """Everything of the fish task beside the run."""

    model: FishModel = field(default_factory=FishModel)
    loss: FishLoss = field(default_factory=FishLoss)
    standardize: bool = False  # features to mean 0 and sd 1 of the training rows; both become part of the weights
    include_feedingpath: bool = False  # learn the feeding path too, as a fifth task
    # folder of train.csv and test.csv: nothing is read from it, but it must not contradict the features
    annotations: str | None = None
    joint_taxa: bool = False  # family and order chosen together: the order named is that of the family named
    # a label that the classes do not know is an error naming it, or left out (mask)
    unknown_labels: Literal["error", "mask"] = "error"
    common: int = 100  # training images from which on a family counts as common in the scores
    rare: int = 10  # training images below which a family counts as rare in the scores
    # what the order of training is made of; shards: stretches of features, where a machine without GPU cannot hold them all
    plan: PlanKind = "rows"

    def __post_init__(self) -> None:
        if self.unknown_labels not in ("error", "mask"):
            raise ValueError(f"unknown_labels={self.unknown_labels!r} must be error or mask")
        if not 0 < self.rare <= self.common:
            raise ValueError(f"rare={self.rare} must be at least 1 and at most common={self.common}")
        check_plan(self.plan)

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order of the gates."""
        return (*TASKS, *OPTIONAL) if self.include_feedingpath else TASKS

    def task_weights(self) -> dict[str, float]:
        """Task -> factor of its loss term."""
        return dict(zip(self.tasks, (*self.loss.weights, 0.5)[: len(self.tasks)], strict=True))


SPELLINGS: dict[str, tuple[str, ...]] = {  # the options of the published trainer
    "features_dir": ("data",),
    "output_dir": ("out",),
    "batch_size": ("micro_batch", "global_batch"),
    "lr": ("optim.lr",),
    "weight_decay": ("optim.weight_decay",),
    "patience": ("early_stop_patience",),
    "lr_scheduler": ("schedule.kind",),
    "lr_warmup_epochs": ("schedule.warmup_epochs",),
    "lr_step_size": ("schedule.step_epochs",),
    "lr_gamma": ("schedule.factor",),
    "architecture": ("model.architecture",),
    "experts": ("model.experts",),
    "expert_hidden": ("model.hidden",),
    "tower_hidden": ("model.tower",),
    "num_layers": ("model.layers",),
    "dropout": ("model.dropout",),
    "gating_temperature": ("model.temperature",),
    "loss_weights": ("loss.weights",),
    "label_smoothing": ("loss.label_smoothing",),
    "class_weighting": ("loss.class_weighting",),
    "uncertainty_weighting": ("loss.uncertainty_weighting",),
    "standardize": ("standardize",),
    "include_feedingpath": ("include_feedingpath",),
    "wandb_project": ("wandb.project",),
    "wandb_entity": ("wandb.entity",),
    "wandb": ("wandb.enabled",),
    "exp_name": ("name", "wandb.name"),
    "ann_root": ("annotations",),
}
IDLE = {"device": device_option.contradiction}
