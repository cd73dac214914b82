"""The run: frozen dataclasses that check themselves; the command line and the files are made from them by jsonargparse."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from tarpon.train.machine_options import EngineOptions, LoaderOptions
from tarpon.train.option import Option, options_of_record
from tarpon.train.option_errors import explain
from tarpon.train.usage import UsageError, one_line

if TYPE_CHECKING:
    import jsonargparse


@dataclass(frozen=True, kw_only=True)
class Optim:
    """AdamW (Loshchilov and Hutter 2019)."""

    lr: float = 5e-5  # learning rate at its highest, after the warm-up
    weight_decay: float = 0.05  # weight decay a step, times the learning rate; not on norms, biases, embeddings
    beta1: float = 0.9  # decay of the gradients' running mean
    beta2: float = 0.999  # decay of the squared gradients' running mean
    backbone_lr_scale: float = 1.0  # learning rate of the backbone over that of the rest
    clip_norm: float = 1.0  # longest gradient, over all parameters, that is not shortened to this; 0 = off

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.weight_decay < 0 or self.backbone_lr_scale <= 0 or self.clip_norm < 0:
            raise ValueError(
                f"optim.lr={self.lr} and backbone_lr_scale={self.backbone_lr_scale} must be above 0 (freeze_backbone_epochs "
                f"holds the backbone still); weight_decay={self.weight_decay} and clip_norm={self.clip_norm} at least 0"
            )
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError(f"optim.beta1={self.beta1} and beta2={self.beta2} must be in [0, 1)")


ScheduleKind = Literal["cosine", "linear", "step", "plateau", "constant", "none"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate over time, set at every optimizer step."""

    kind: ScheduleKind = "cosine"  # how the rate goes after the warm-up
    warmup_epochs: float = 3.0  # epochs in which the rate rises from 0 to optim.lr
    min_lr: float = 1e-6  # learning rate below which it does not fall
    patience: int = 10  # plateau: evaluations without a better selection metric before the rate falls
    step_epochs: int = 10  # step: epochs after the warm-up between falls
    factor: float = 0.5  # plateau and step: what the rate is multiplied by when it falls

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScheduleKind):
            raise ValueError(f"schedule.kind={self.kind!r} must be one of {', '.join(get_args(ScheduleKind))}")
        if self.warmup_epochs < 0 or self.min_lr < 0 or min(self.patience, self.step_epochs) < 1 or not 0 < self.factor < 1:
            raise ValueError(
                f"schedule: warmup_epochs={self.warmup_epochs} and min_lr={self.min_lr} must be at least 0, "
                f"patience={self.patience} and step_epochs={self.step_epochs} at least 1, factor={self.factor} between 0 and 1"
            )


@dataclass(frozen=True, kw_only=True)
class EmaOptions:
    """Exponential moving average of the weights; when on, it is what is evaluated, selected and exported."""

    enabled: bool = False  # average the weights over the steps
    decay: float = 0.999  # share of the average that is kept a step; reached by way of (1 + step) / (10 + step)

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"ema.decay={self.decay} must be between 0 and 1; 0.999 averages over about 1000 steps")


@dataclass(frozen=True, kw_only=True)
class WandbOptions:
    """Weights & Biases beside TensorBoard: `pip install "tarpon[wandb]"`; WANDB_MODE=offline needs no account."""

    enabled: bool = False  # send the curves there too
    project: str | None = None  # project on your own account that the run goes to
    entity: str | None = None  # account or team that the project is of; null: your own
    name: str | None = None  # name of the run there; null: made of the main options

    def __post_init__(self) -> None:
        if self.enabled and not self.project:
            raise ValueError("wandb.enabled=true needs wandb.project: the project on your own account that the run goes to")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run, whatever the task."""

    data: str  # folder or URL that `tarpon pack` or `tarpon features` wrote
    out: str = "runs/latest"  # run folder
    # name of a run folder in `out`; null: `out` itself, or of some tasks a name made of the main options
    name: str | None = None
    epochs: int = 30  # passes over the training data
    steps: int | None = None  # optimizer steps in all; null: epochs x steps an epoch
    micro_batch: int = 2  # samples a process a forward; smaller where memory is short
    global_batch: int = 2  # samples an optimizer step, all processes together: a multiple of micro_batch x processes
    seed: int = 123  # of everything drawn: order, augmentation, first weights
    resume: bool | Literal["auto"] = "auto"  # go on with the run in the folder; auto: where it holds one of these options
    freeze_backbone_epochs: int = 3  # epochs in which the backbone is held still, before it learns too
    early_stop_patience: int = 20  # evaluations without a better selection metric before training ends; 0 = off
    eval_every: int = 1  # epochs between evaluations
    log_every: int = 10  # optimizer steps between lines of the log
    verbose: bool = False  # show what the libraries say; else it goes to log.txt of the run folder
    save_every: int = 0  # optimizer steps between checkpoints; 0: at every evaluation
    save_minutes: float = 5.0  # minutes after which a checkpoint is written whatever the step; 0 = off
    keep_checkpoints: int = 2  # the newest so many, beside the best weights; an older one serves where the newest is damaged
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    ema: EmaOptions = field(default_factory=EmaOptions)
    wandb: WandbOptions = field(default_factory=WandbOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    loader: LoaderOptions = field(default_factory=LoaderOptions)

    def __post_init__(self) -> None:
        for name in ("epochs", "micro_batch", "global_batch", "eval_every", "log_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("freeze_backbone_epochs", "early_stop_patience", "save_every", "save_minutes", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0")
        if self.name is not None and (not self.name or self.name != Path(self.name).name or self.name.startswith(".")):
            raise ValueError(f"name={self.name!r} must be a plain folder name; say the folders above it with --out")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps={self.steps} must be at least 1, or unset for epochs x steps an epoch")

    def accumulation(self, world: int) -> int:
        """Micro-batches a process an optimizer step."""
        if self.global_batch % (self.micro_batch * world):
            raise ValueError(
                f"global_batch={self.global_batch} must be a multiple of micro_batch x processes = {self.micro_batch} x {world}"
            )
        return self.global_batch // (self.micro_batch * world)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole default run of a task: what a user gets who gives nothing but the data."""

    run: Run
    options: object  # the task's own


DATA = "DATA"  # what a recipe's `run.data` holds: a user always gives it


def list_options(chosen: object, run: Run | None = None) -> list[Option]:
    """Every option of a training with these defaults: those of the run, then the task's own."""
    return [
        *options_of_record(run or Run(data=DATA), section="run", required=("data",)),
        *options_of_record(chosen, section="task"),
    ]


def recipe_defaults(recipe: Recipe) -> dict[str, object]:
    """Dotted option -> value, where the recipe differs from the dataclasses' own defaults."""
    changes: dict[str, object] = {}
    for given, plain in ((recipe.run, Run(data=DATA)), (recipe.options, type(recipe.options)())):
        held = _dotted(asdict(plain))
        changes |= {name: value for name, value in _dotted(asdict(given)).items() if value != held[name]}
    return changes


def _dotted(values: dict, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in values.items():
        flat |= _dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def parser_for(options: type, *, recipe: Recipe | None, task: str) -> "jsonargparse.ArgumentParser":
    """Every field of Run and of the task's own options as a dotted option, over the recipe's values where there is one."""
    import jsonargparse

    parser = jsonargparse.ArgumentParser(
        prog=f"train/launch.py {task}",
        exit_on_error=False,
        allow_abbrev=False,  # `--epoch` is a mistake to be told, not another name of --epochs
        description=f"Train the {task} task; every option can also stand in --config FILE (YAML).",
    )
    parser.add_argument("--config", action="config")
    for owner in (Run, options):
        parser.add_class_arguments(owner, None)
    parser.set_defaults(recipe_defaults(recipe) if recipe else {})
    return parser


def parse(parser: "jsonargparse.ArgumentParser", options: type, argv: Sequence[str]) -> tuple[Run, object, str]:
    """Command line -> (run, the task's options, the whole resolved configuration as YAML).

    Raises:
        UsageError: in one line.
    """
    from jsonargparse import ArgumentError

    try:
        values = parser.parse_args(list(argv))
        text = parser.dump(values, skip_none=False)
        made = parser.instantiate(values)
        pick = {owner: owner(**{f.name: made[f.name] for f in fields(owner)}) for owner in (Run, options)}
    except (ArgumentError, ValueError, TypeError, OSError) as error:
        raise UsageError(one_line(explain(str(error), {option.name: option for option in list_options(options())}))) from error
    return pick[Run], pick[options], text


def read_run(folder: Path, options: type, parser: "jsonargparse.ArgumentParser") -> tuple[Run, object]:
    """The configuration a run folder was made with."""
    path = folder / "run.yaml"
    if not path.exists():
        raise ValueError(f"{folder}: no run.yaml here; give a run folder that train/launch.py wrote")
    run, chosen, _ = parse(parser, options, ["--config", str(path)])
    return run, chosen


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """Nested options as dotted names with plain values."""
    out: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            out |= flat(value, f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}"] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return out
