"""The run: frozen dataclasses that check themselves; the command line and the files are made from them by jsonargparse."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

import jsonargparse

from tarpon.shards.tar_cache import CACHE_BYTES, Cache


@dataclass(frozen=True, kw_only=True)
class Optim:
    """AdamW (Loshchilov and Hutter 2019)."""

    lr: float = 5e-5
    weight_decay: float = 0.05  # not on norms, biases, embeddings
    beta1: float = 0.9
    beta2: float = 0.999
    backbone_lr_scale: float = 1.0  # learning rate of the backbone over that of the rest
    clip_norm: float = 1.0  # of the gradient over all parameters; 0 = off

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.weight_decay < 0 or self.backbone_lr_scale <= 0 or self.clip_norm < 0:
            raise ValueError(
                f"optim.lr={self.lr} and backbone_lr_scale={self.backbone_lr_scale} must be above 0 (freeze_backbone_epochs "
                f"holds the backbone still); weight_decay={self.weight_decay} and clip_norm={self.clip_norm} at least 0"
            )
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError(f"optim.beta1={self.beta1} and beta2={self.beta2} must be in [0, 1)")


SCHEDULES = ("cosine", "linear", "step", "plateau", "constant", "none")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate over time, set at every optimizer step."""

    kind: str = "cosine"  # cosine | linear | step | plateau | constant (or none); each after the warm-up
    warmup_epochs: float = 3.0
    min_lr: float = 1e-6
    patience: int = 10  # plateau: evaluations without a better selection metric before the rate falls
    step_epochs: int = 10  # step: epochs after the warm-up between falls
    factor: float = 0.5  # plateau and step: how far it falls

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ValueError(f"schedule.kind={self.kind!r} must be one of {', '.join(SCHEDULES)}")
        if self.warmup_epochs < 0 or self.min_lr < 0 or min(self.patience, self.step_epochs) < 1 or not 0 < self.factor < 1:
            raise ValueError(
                f"schedule: warmup_epochs={self.warmup_epochs} and min_lr={self.min_lr} must be at least 0, "
                f"patience={self.patience} and step_epochs={self.step_epochs} at least 1, factor={self.factor} between 0 and 1"
            )


@dataclass(frozen=True, kw_only=True)
class EmaOptions:
    """Exponential moving average of the weights; when on, it is what is evaluated, selected and exported."""

    enabled: bool = False
    decay: float = 0.999  # reached by way of (1 + step) / (10 + step)

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"ema.decay={self.decay} must be between 0 and 1; 0.999 averages over about 1000 steps")


@dataclass(frozen=True, kw_only=True)
class WandbOptions:
    """Weights & Biases beside TensorBoard: `pip install "tarpon[wandb]"`; WANDB_MODE=offline needs no account."""

    enabled: bool = False
    project: str | None = None
    entity: str | None = None
    name: str | None = None  # of the run; unset: made of the main options

    def __post_init__(self) -> None:
        if self.enabled and not self.project:
            raise ValueError("wandb.enabled=true needs wandb.project: the project on your own account that the run goes to")


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What DeepSpeed does."""

    zero_stage: int = 0  # 0: whole copies; 1: optimizer state shared out; 2: gradients too
    dtype: str = "auto"  # bf16 (autocast over float32 weights) | fp32; auto: bf16 on a GPU, fp32 on a CPU
    compile: str = "auto"  # the backbone's blocks by torch.compile: on | off; auto: on a GPU
    tf32: bool = True  # fp32 on a GPU: matrix products of the network with 10 bits of mantissa, several times as fast
    deepspeed_config: str | None = None  # JSON merged under the run's own values; a contradiction is refused
    rank_timeout_s: float = 60.0  # a process that gives no sign of life for so long ends the run
    # The last resort against a sum over processes that never ends. Long, for rank 0 may rightly be at one evaluation's figures
    # or at its files while the others wait; a process that has died is noticed by rank_timeout_s.
    collective_timeout_min: float = 30.0

    def __post_init__(self) -> None:
        if self.zero_stage not in (0, 1, 2):
            raise ValueError(f"engine.zero_stage={self.zero_stage} must be 0, 1 or 2")
        if self.dtype not in ("auto", "fp32", "bf16"):
            raise ValueError(f"engine.dtype={self.dtype!r} must be auto, fp32 or bf16")
        if self.compile not in ("auto", "on", "off"):
            raise ValueError(f"engine.compile={self.compile!r} must be auto, on or off")
        if self.collective_timeout_min * 60 < self.rank_timeout_s:
            raise ValueError(
                f"engine.collective_timeout_min={self.collective_timeout_min} must be no shorter than "
                f"rank_timeout_s={self.rank_timeout_s}"
            )
        if self.rank_timeout_s < 3:
            raise ValueError(f"engine.rank_timeout_s={self.rank_timeout_s} must be at least 3: signs of life come every second")


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """How data come in."""

    threads: int = 0  # decoding threads a process; 0: the cores shared out among the processes of this machine
    prefetch: int = 2  # batches made ahead
    decode_batches: int = 0  # micro-batches decoded as one; 0: one on a CPU, on a GPU as its decoders and memory ask for
    cache: str | None = None  # folder for tars of remote data sets
    cache_bytes: int = CACHE_BYTES  # of it at most; the least recently used tars are removed
    verify_always: bool = False  # checksums at every read, not only at a sample's first since its tar was opened
    bad_rows: int = 0  # unreadable samples allowed in each process; one more ends the run
    bad_share: float = 1.0  # and at most this share of the rows of a split
    bad_run: int = 0  # and at most so many side by side in a split, as a damaged tar leaves them; 0: no limit

    def __post_init__(self) -> None:
        for name in ("threads", "decode_batches", "bad_rows", "bad_run"):
            if getattr(self, name) < 0:
                raise ValueError(f"loader.{name}={getattr(self, name)} must be at least 0")
        if self.prefetch < 1:
            raise ValueError(f"loader.prefetch={self.prefetch} must be at least 1")
        if not 0 <= self.bad_share <= 1:
            raise ValueError(f"loader.bad_share={self.bad_share} must be from 0 to 1")
        self.tar_cache()

    def tar_cache(self) -> Cache | None:
        """Where fetched tars are kept; None without a folder."""
        return Cache.of(self.cache, self.cache_bytes)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run, whatever the task."""

    data: str  # what `tarpon pack` or `tarpon features` wrote: a folder or a URL
    out: str = "runs/latest"  # run folder
    name: str | None = None  # of a run folder in `out`; unset: `out` itself, or of some tasks a name made of the main options
    epochs: int = 30
    steps: int | None = None  # optimizer steps; unset: epochs x steps an epoch
    micro_batch: int = 2  # samples a process a forward
    global_batch: int = 2  # samples an optimizer step, all processes together
    seed: int = 123
    resume: bool | Literal["auto"] = "auto"  # go on with the run in the folder; auto: where it holds one of these options
    freeze_backbone_epochs: int = 3  # the backbone learns from this epoch on
    early_stop_patience: int = 20  # evaluations without a better selection metric; 0 = off
    eval_every: int = 1  # epochs
    log_every: int = 10  # optimizer steps
    verbose: bool = False  # show what the libraries say; else it goes to log.txt of the run folder
    save_every: int = 0  # optimizer steps between checkpoints; 0: at every evaluation
    save_minutes: float = 5.0  # and whenever the last checkpoint is older than this; 0 = off
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


class UsageError(ValueError):
    """Words on the command line or in a file that no option takes."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole default run of a task: what a user gets who gives nothing but the data."""

    run: Run
    options: object  # the task's own


DATA = "DATA"  # what a recipe's `run.data` holds: a user always gives it


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


def parser_for(options: type, *, recipe: Recipe | None, task: str) -> jsonargparse.ArgumentParser:
    """Every field of Run and of the task's own options as a dotted option, over the recipe's values where there is one."""
    parser = jsonargparse.ArgumentParser(
        prog=f"train/launch.py {task}",
        exit_on_error=False,
        description=f"Train the {task} task; every option can also stand in --config FILE (YAML).",
    )
    parser.add_argument("--config", action="config")
    for owner in (Run, options):
        parser.add_class_arguments(owner, None)
    parser.set_defaults(recipe_defaults(recipe) if recipe else {})
    return parser


def parse(parser: jsonargparse.ArgumentParser, options: type, argv: Sequence[str]) -> tuple[Run, object, str]:
    """Command line -> (run, the task's options, the whole resolved configuration as YAML).

    Raises:
        UsageError: in one line.
    """
    try:
        values = parser.parse_args(list(argv))
        text = parser.dump(values, skip_none=False)
        made = parser.instantiate(values)
        pick = {owner: owner(**{f.name: made[f.name] for f in fields(owner)}) for owner in (Run, options)}
    except (jsonargparse.ArgumentError, ValueError, TypeError, OSError) as error:
        raise UsageError(one_line(str(error))) from error
    return pick[Run], pick[options], text


def read_run(folder: Path, options: type, parser: jsonargparse.ArgumentParser) -> tuple[Run, object]:
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


def one_line(text: str, *, limit: int = 400) -> str:
    """A parser's message of many lines as one."""
    joined = " ".join(line.strip(" -") for line in text.splitlines() if line.strip())
    return joined if len(joined) <= limit else joined[: limit - 3] + "..."


def fail(error: Exception, *, program: str) -> int:
    """Say what is wrong in one line; the exit status for it."""
    print(f"{program}: {one_line(str(error), limit=1000)}", file=sys.stderr, flush=True)
    return 2
