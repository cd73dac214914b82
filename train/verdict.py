"""What the time of a training was spent on, in a line, and what would make it faster."""

from collections.abc import Mapping
from dataclasses import dataclass

from tarpon.shards.progress import format_duration
from tarpon.train.timing import FIRST, STEP, Spent

WORDS = {
    FIRST: "first step",
    "data": "waiting for data",
    "copy": "copying",
    "forward": "forward",
    "backward": "backward",
    "optimizer": "optimizer",
    "evaluation": "evaluation",
    "saving": "saving",
    "measuring": "measuring",
}
WAITS = 0.15  # of the training steps' time waiting for data, and decoding is what limits
AUGMENTS = 0.5  # of the time of decoding and augmenting: less of it is worth a try
EVALUATES = 0.4  # of the whole time
SHOWN = 0.005  # of the whole time: less is 0 %


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What of a run decides which advice fits."""

    gpu: bool
    bf16: bool
    compiled: bool
    cores: int  # that this process may decode on
    threads: int  # that it does decode on
    augment_share: float | None = None  # of the time of decoding and augmenting; None: not measured


def describe(spent: Spent, setting: Setting) -> str:
    """`42 s: waiting for data 61%, forward 12%, ...; decode-bound: ...; try ...`."""
    return f"{format_duration(spent.total_s)}: {format_shares(spent)}; {judge(spent, setting)}"


def format_shares(spent: Spent) -> str:
    """The parts in the order of the work; what is in none of them is `other`."""
    shares = {words: spent.share(part) for part, words in WORDS.items()}
    shares["other"] = max(1.0 - sum(shares.values()), 0.0)
    return ", ".join(f"{words} {share:.0%}" for words, share in shares.items() if share >= SHOWN)


def judge(spent: Spent, setting: Setting) -> str:
    """What limits the training, and what to try."""
    if not spent.step_s:
        return "too short to judge"
    if (waiting := waits(spent)) > WAITS:
        parts = "" if (augmenting := setting.augment_share) is None else f" ({_split(augmenting)})"
        return f"decode-bound: {waiting:.0%} of a step is waiting for data{parts}; try {_try_to_decode(setting)}"
    if spent.share("evaluation") > EVALUATES:
        return "evaluation takes the most; try a larger --eval_every"
    return "compute-bound"


def waits(spent: Spent) -> float:
    """Share of the steps' time that is waiting for data or copying them; 0 without steps."""
    return (spent.parts.get("data", 0.0) + spent.parts.get("copy", 0.0)) / spent.step_s if spent.step_s else 0.0


def _split(augmenting: float) -> str:
    return f"decoding {1 - augmenting:.0%}, augmenting {augmenting:.0%} of it"


def _try_to_decode(setting: Setting) -> str:
    if setting.augment_share is not None and setting.augment_share > AUGMENTS:
        return f"lower probabilities in --augment, or {_more_decoding(setting)}"
    return _more_decoding(setting)


def _more_decoding(setting: Setting) -> str:
    if setting.threads < setting.cores:
        return f"--loader.threads {setting.cores}"
    cores = "1 core" if setting.cores == 1 else f"{setting.cores} cores"
    return f"shards packed at the size that is trained on, or more than {cores} a process"


def advise(setting: Setting) -> str:
    """What makes a compute-bound training faster, "" where nothing is left to say."""
    if not setting.gpu:
        return "a GPU or a smaller network makes it faster"
    if not setting.bf16:
        return "try --engine.dtype bf16"
    return "" if setting.compiled else "try --engine.compile on"


def as_scalars(spent: Spent) -> Mapping[str, float]:
    """Shares of the time, under the names they are logged by."""
    return {f"time/{part.replace(' ', '_')}": spent.share(part) for part in (*STEP, "evaluation", "saving")}
