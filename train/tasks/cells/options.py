"""What can be set for the cells task: frozen records that check themselves; and the published YAML in their terms."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.pipelines.page.feed import check_contrast
from tarpon.shards.bounded_text import read_yaml
from tarpon.shards.sampling.draws import PageAugment
from tarpon.shards.sources.cells.config import read_training_part
from tarpon.train.plan_kind import PlanKind, check_plan
from tarpon.train.usage import UsageError


@dataclass(frozen=True, kw_only=True)
class CellsModel:
    """The network."""

    backbone: FrameBackbone = field(default_factory=lambda: FrameBackbone(name="resnet50", image_size=512))
    train_backbone: bool = True  # false holds the backbone still throughout, its batch statistics too
    hidden_dim: int = 256  # features of a head's hidden layer; 0: a linear head
    dropout: float = 0.2  # share of features dropped before the heads
    condition_on_class: bool = False  # the hours are read from the class scores too
    detach_class: bool = False  # with condition_on_class: the hours' error does not reach the class head
    window: int = 1  # pages, odd: the page itself with its neighbours in time, through a TCN; 1: the page alone
    tcn_hidden: int = 256  # channels of that TCN

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(f"model.window={self.window} must be an odd number of pages; 1 for no window")


@dataclass(frozen=True, kw_only=True)
class CellsLoss:
    """The two terms; 0 switches one off."""

    classification_weight: float = 1.0  # weight of the term of infected or not
    regression_weight: float = 1.0  # weight of the term of the hours
    beta: float = 1.0  # hours at which smooth L1 turns linear

    def __post_init__(self) -> None:
        weights = (self.classification_weight, self.regression_weight)
        if not all(0 <= weight < math.inf for weight in weights) or not 0 < self.beta < math.inf:
            raise ValueError(
                f"loss: classification_weight={self.classification_weight} and regression_weight={self.regression_weight} must "
                f"be at least 0, beta={self.beta} above 0"
            )


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Which pages a split has."""

    # hours of the clock, both ends included, from which infected pages are taken; null: all
    infected_window_hours: tuple[float, float] | None = (0.0, 48.0)
    uninfected_window_hours: tuple[float, float] | None = (0.0, 48.0)  # the same of uninfected pages
    infected_stride: int = 1  # every so many infected pages of a stack
    uninfected_stride: int = 1  # every so many uninfected pages of a stack
    uninfected_use_all: bool = True  # false without a window: only the first page

    def __post_init__(self) -> None:
        for name in ("infected_window_hours", "uninfected_window_hours"):
            window = getattr(self, name)
            if window is not None and not 0 <= window[0] <= window[1]:
                raise ValueError(f"{name}={list(window)} must be two hours, rising from 0 up")
        if min(self.infected_stride, self.uninfected_stride) < 1:
            raise ValueError("infected_stride and uninfected_stride must be at least 1 page")


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Which pages the splits have."""

    train: Pages = field(default_factory=Pages)
    val: Pages = field(default_factory=Pages)
    test: Pages = field(default_factory=Pages)
    match_windows: bool = False  # keep of a split the hours that both windows hold and both classes were filmed at


@dataclass(frozen=True, kw_only=True)
class CellsOptions:
    """Everything of the cells task beside the run."""

    model: CellsModel = field(default_factory=CellsModel)
    loss: CellsLoss = field(default_factory=CellsLoss)
    frames: Frames = field(default_factory=Frames)
    augment: PageAugment = field(default_factory=PageAugment)
    infection_onset_hour: float = 2.0  # hour of the clock at which the infection sets in: infected pages count from it
    clamp_range: tuple[float, float] = (0.0, 48.0)  # hours between which targets and what is reported are held
    # whose grey levels become 0 and 1: of the stack's first page, of all of it (stack), of each page (frame), of the camera's
    # bits (fixed), of the bits that pages are stored in (stored)
    contrast: Literal["first", "stack", "frame", "fixed", "stored"] = "first"
    mean: float = 0.5  # grey level of 0..1 that is taken off
    std: float = 0.25  # and what the rest is divided by
    balance: bool = False  # pages of the rarer class come more often
    fold: int | None = None  # test on this fold of shards packed with --folds; null: the stored split
    plan: PlanKind = "rows"  # what the order of training is made of; shards: for sets that a process should not hold whole

    def __post_init__(self) -> None:
        low, high = self.clamp_range
        if not 0 <= low < high < math.inf:
            raise ValueError(f"clamp_range={[low, high]} must be two hours, rising from 0 up")
        if not 0 <= self.infection_onset_hour < math.inf:
            raise ValueError(f"infection_onset_hour={self.infection_onset_hour} must be an hour of the clock, 0 or later")
        if not math.isfinite(self.mean) or not 0 < self.std < math.inf:
            raise ValueError(f"mean={self.mean} must be a number and std={self.std} one above 0")
        check_contrast(self.contrast)
        check_plan(self.plan)
        if self.plan == "shards" and self.fold is not None:
            raise ValueError(f"fold={self.fold} makes splits of its own, plan=shards reads the stored ones; set plan rows")


SPELLINGS: dict[str, tuple[str, ...]] = {"batch_size": ("micro_batch", "global_batch"), "lr": ("optim.lr",)}
_PLAIN = {  # key of the published file -> our options
    "output_dir": ("out",),
    "seed": ("seed",),
    "experiment_name": ("wandb.name",),
    "data.batch_size": ("micro_batch", "global_batch"),
    "data.num_workers": ("loader.threads",),
    "data.balance_sampler": ("balance",),
    "data.transforms.image_size": ("model.backbone.image_size",),
    "multitask.infection_onset_hour": ("infection_onset_hour",),
    "multitask.clamp_range": ("clamp_range",),
    "multitask.classification_weight": ("loss.classification_weight",),
    "multitask.regression_weight": ("loss.regression_weight",),
    "model.name": ("model.backbone.name",),
    "model.pretrained": ("model.backbone.pretrained",),
    "model.dropout": ("model.dropout",),
    "model.train_backbone": ("model.train_backbone",),
    "model.hidden_dim": ("model.hidden_dim",),
    "model.use_cls_conditioning": ("model.condition_on_class",),
    "training.epochs": ("epochs",),
    "training.grad_clip": ("optim.clip_norm",),
    "optimizer.lr": ("optim.lr",),
    "optimizer.weight_decay": ("optim.weight_decay",),
    "scheduler.eta_min": ("schedule.min_lr",),
}
_SWITCHES = {  # off: what to set
    "data.transforms.random_flip": {"augment.flip_p": 0.0},
    "data.transforms.random_rotation": {"augment.angle": 0.0},
    "data.transforms.color_jitter": {"augment.brightness_p": 0.0, "augment.contrast_p": 0.0},
    "training.amp": {"engine.dtype": "fp32"},
}
_FIXED = {"model.num_classes": 2, "optimizer.eps": 1e-8}  # what no option changes; another value is refused


def read_published(path: str) -> dict[str, object] | None:
    """The options that a published cells file sets, dotted -> value; None for a file of our own options.

    Raises:
        UsageError: a key or value that nothing takes.
    """
    try:
        held = read_yaml(Path(path))
    except (OSError, ValueError):
        return None  # reported where our own files are read
    if not isinstance(held, dict) or not isinstance(held.get("data"), dict):
        return None  # of ours `data` is a path
    try:
        known = read_training_part(Path(path))
    except ValueError as error:
        raise UsageError(str(error)) from error
    made: dict[str, object] = {}
    for key, value in known.items():
        if key in _PLAIN:
            made |= dict.fromkeys(_PLAIN[key], 0.0 if value is None else value)
        elif key in _SWITCHES:
            made |= {} if value else _SWITCHES[key]
        elif key in _FIXED:
            if value != _FIXED[key]:
                raise UsageError(f"{path}: {key}={value} cannot be had; it is always {_FIXED[key]}")
        elif key == "optimizer.betas":
            made |= dict(zip(("optim.beta1", "optim.beta2"), value, strict=True))
        elif key.startswith("data.transforms."):
            if len(set(value)) != 1:
                raise UsageError(f"{path}: {key}={list(value)} must be one number, as pages are grey")
            made[key.rpartition(".")[2]] = value[0]
        elif key.startswith("frames."):
            made[key] = value
        else:
            raise UsageError(f"{path}: {key} is read by nothing in training; remove it")
    return made
