"""The published trainer's YAML: what of it packing takes, what training takes, what has no effect here, and what is refused.

Every key of the file is one of these, by name; one that is none is an error. The table is KEYS.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from tarpon.shards.bounded_text import read_yaml
from tarpon.shards.sources.cells.config_places import find_folders, find_place_beside
from tarpon.shards.sources.cells.names import NAME

FRAMES = "data.frames"
SPLITS = {  # sub-blocks of data.frames -> the split they speak of; default speaks of all
    "train": ("train",), "val": ("val",), "validation": ("val",), "test": ("test",), "eval": ("test",),
    "evaluation": ("test",), "default": ("train", "val", "test"),
}  # fmt: skip
FRAME_KEYS = {  # of data.frames or one of its sub-blocks
    "infected_window_hours": "pair?", "uninfected_window_hours": "pair?", "window_hours": "pair?",
    "infected_stride": "count", "uninfected_stride": "count", "uninfected_use_all": "flag",
}  # fmt: skip
PACK, TRAIN = "pack", "train"
KEYS: dict[str, tuple[str, str]] = {  # key -> kind of value, who takes it; anything else there: the note that it has no effect
    "data.infected_dir": ("text", PACK),
    "data.uninfected_dir": ("text", PACK),
    "data.stacks_dir": ("text", PACK),
    "data.plate_map": ("text", PACK),
    "data.infected_label": ("number", PACK),
    "data.uninfected_label": ("number", PACK),
    "data.name_regex": ("text", PACK),
    "data.split_ratios": ("triple", PACK),
    "data.split_seed": ("count", PACK),
    "training.k_folds": ("count?", PACK),
    f"{FRAMES}.frames_per_hour": ("number", PACK),
    "experiment_name": ("text", TRAIN),
    "output_dir": ("text", TRAIN),
    "seed": ("count", TRAIN),
    "data.batch_size": ("count", TRAIN),
    "data.num_workers": ("count", TRAIN),
    "data.balance_sampler": ("flag", TRAIN),
    "data.transforms.image_size": ("count", TRAIN),
    "data.transforms.random_flip": ("flag", TRAIN),
    "data.transforms.random_rotation": ("flag", TRAIN),
    "data.transforms.color_jitter": ("flag", TRAIN),
    "data.transforms.mean": ("numbers", TRAIN),
    "data.transforms.std": ("numbers", TRAIN),
    "multitask.infection_onset_hour": ("number", TRAIN),
    "multitask.clamp_range": ("pair", TRAIN),
    "multitask.classification_weight": ("number", TRAIN),
    "multitask.regression_weight": ("number", TRAIN),
    "model.name": ("text", TRAIN),
    "model.pretrained": ("flag", TRAIN),
    "model.num_classes": ("count", TRAIN),
    "model.dropout": ("number", TRAIN),
    "model.train_backbone": ("flag", TRAIN),
    "model.hidden_dim": ("count", TRAIN),
    "model.use_cls_conditioning": ("flag", TRAIN),
    "training.epochs": ("count", TRAIN),
    "training.amp": ("flag", TRAIN),
    "training.grad_clip": ("number?", TRAIN),
    "optimizer.lr": ("number", TRAIN),
    "optimizer.weight_decay": ("number", TRAIN),
    "optimizer.betas": ("pair", TRAIN),
    "optimizer.eps": ("number", TRAIN),
    "scheduler.eta_min": ("number", TRAIN),
    "run_id": ("text?", "the run's folder is its name; choose it with --out"),
    "scheduler.t_max": ("count", "the cosine ends with the run's last step"),
    "data.eval_batch_size_multiplier": ("number", "scores do not depend on it"),
    "data.drop_last": ("flag", "training steps are always full, and scoring leaves out no page"),
    "training.checkpoint_dir": ("text", "checkpoints lie in the run's folder"),
    "scheduler.type": ("cosine", "cosine is the default; choose another with --schedule.kind"),
    "logging.output_dir": ("text", "the log lies in the run's folder"),
    "analysis.thresholds": ("numbers", "scores are given at 0.5, and the curves hold every threshold"),
    "analysis.time_bins": ("any", "scores by time are given in windows of 6 h, every 3 h"),
}
ALIASES = {
    "training.batch_size": "data.batch_size",
    "training.num_workers": "data.num_workers",
}  # read there by some of its scripts
REFUSED = {
    "task": "both tasks are always trained; for one alone set multitask.regression_weight or classification_weight to 0",
    "data.data_dir": "give data.infected_dir and data.uninfected_dir, or data.stacks_dir with data.plate_map",
    "data.label_file": "give data.infected_dir and data.uninfected_dir, or data.stacks_dir with data.plate_map",
    "data.train_stacks": "stacks are split by group; see data.split_ratios, data.split_seed and --group",
    "data.val_stacks": "stacks are split by group; see data.split_ratios, data.split_seed and --group",
    "data.test_stacks": "stacks are split by group; see data.split_ratios, data.split_seed and --group",
}


@dataclass(frozen=True, kw_only=True)
class CellsConfig:
    """What packing takes from the file."""

    infected_dir: Path | str  # a path or URL; or that of all stacks, whose classes the plate map tells
    uninfected_dir: Path | str | None
    plate_map: Path | str | None = None
    frames_per_hour: float | None = None  # None: not told
    name_regex: str = NAME
    split: tuple[float, float, float] = (0.7, 0.15, 0.15)  # shares of train, val, test groups
    split_seed: int = 0
    folds: int = 0
    unused: tuple[str, ...] = ()  # lines on the keys that have no effect


def read_config(path: Path, *, url: str = "") -> CellsConfig:
    """The packing part.

    Args:
        url: where the file was fetched from: its relative paths lie beside it there.

    Raises:
        ValueError: names the key that is missing, wrong, unknown or refused.
    """
    known = _read(path)
    first, second = find_folders(path, known, url=url)
    for key, label in (("data.infected_label", 1), ("data.uninfected_label", 0)):
        if known.get(key, label) != label:
            raise ValueError(f"{path}: {key}={known[key]:g} must be {label}; infected is 1 here, and the folder is the class")
    named = {
        "frames_per_hour": f"{FRAMES}.frames_per_hour",
        "name_regex": "data.name_regex",
        "split": "data.split_ratios",
        "split_seed": "data.split_seed",
    }
    folds = known.get("training.k_folds") or 0
    return CellsConfig(
        infected_dir=first,
        uninfected_dir=second,
        plate_map=find_place_beside(path, known["data.plate_map"], url=url) if "data.plate_map" in known else None,
        folds=folds if folds > 1 else 0,  # 1 is its way of saying none
        unused=tuple(
            f"{key} has no effect: {KEYS[key][1]}" for key in known if KEYS.get(key, ("", TRAIN))[1] not in (PACK, TRAIN)
        ),
        **{name: known[key] for name, key in named.items() if key in known},
    )


def read_training_part(path: Path) -> dict[str, object]:
    """The keys that training takes, flat and dotted as in KEYS, those of data.frames as `frames.<train|val|test>.<key>`.

    A split's own sub-block goes before default, and that before what stands in data.frames itself. Unlike in the published
    trainer, train's sub-block says nothing of val and test.
    """
    return {key: value for key, value in _read(path).items() if KEYS.get(key, ("", TRAIN))[1] == TRAIN}


def _read(path: Path) -> dict[str, object]:
    """Every key of the file, flat, with its value as the kind says."""
    held = read_yaml(path)
    if not isinstance(held, dict):
        raise ValueError(f"{path}: holds no keys; data.infected_dir and data.uninfected_dir are needed")
    data = held.get("data") if isinstance(held.get("data"), Mapping) else {}
    frames = data.get("frames", held.get("frames"))  # some of its documents leave out `data`
    found: dict[str, object] = {}
    for key, value in _flatten(held):
        if f"{key}.".startswith((f"{FRAMES}.", "frames.")):
            continue
        ours = ALIASES.get(key, key)
        if ours not in KEYS:
            raise ValueError(f"{path}: {_describe_unknown(key)}")
        value = _parse(path, key, value, KEYS[ours][0])
        if found.setdefault(ours, value) != value:
            raise ValueError(f"{path}: {ours} is given twice, as {found[ours]} and {value}; give it once, as {ours}")
    return found | _read_frames(path, frames)


def _flatten(held: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in held.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key not in REFUSED:
            yield from _flatten(value, f"{key}.")
        elif value is not None or key in KEYS or key in ALIASES or key in REFUSED:  # an empty section says nothing
            yield key, value


def _read_frames(path: Path, held: object) -> dict[str, object]:
    """data.frames -> frames_per_hour, and the keys of each split."""
    if held is None:
        return {}
    if not isinstance(held, Mapping):
        raise ValueError(f"{path}: {FRAMES} is {held!r}; a block of keys is expected")
    base = {name: value for name, value in held.items() if name not in SPLITS}
    blocks = [(FRAMES, ("train", "val", "test"), base)]
    for name in ("default", *(name for name in SPLITS if name != "default")):  # later ones go first
        if held.get(name) is not None:
            if not isinstance(held[name], Mapping):
                raise ValueError(f"{path}: {FRAMES}.{name} is {held[name]!r}; a block of keys is expected")
            blocks.append((f"{FRAMES}.{name}", SPLITS[name], held[name]))
    rate, found = f"{FRAMES}.frames_per_hour", {}
    for place, splits, block in blocks:
        for name, value in block.items():
            key = f"{place}.{name}"
            if name == "frames_per_hour":
                value = _parse(path, key, value, "number")
                if found.setdefault(rate, value) != value:
                    raise ValueError(f"{path}: {key}={value:g}, but {found[rate]:g} elsewhere; one rate holds for all stacks")
            elif name not in FRAME_KEYS:
                raise ValueError(f"{path}: {_describe_unknown(key, [f'{place}.{known}' for known in FRAME_KEYS])}")
            else:
                value = _parse(path, key, value, FRAME_KEYS[name])
                name = "infected_window_hours" if name == "window_hours" else name  # its older spelling
                found |= {f"frames.{split}.{name}": value for split in splits}
    return found


def _describe_unknown(key: str, known: list[str] | None = None) -> str:
    for refused, reason in REFUSED.items():
        if key == refused or key.startswith(f"{refused}."):
            return f"{key} cannot be used: {reason}"
    near = get_close_matches(key, known or [*KEYS, *ALIASES], n=2)
    return f"{key} is no key that is known here" + (f"; did you mean {' or '.join(near)}?" if near else "; take it out")


def _parse(path: Path, key: str, value: object, kind: str) -> object:
    """The value as its kind says; `1e-4`, which YAML reads as text, is a number."""
    plain = kind.rstrip("?")
    if value is None and plain != kind:
        return None
    try:
        return PARSERS[plain](value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: {key}={value!r} must be {TYPE_NAMES[plain]}{' or empty' if plain != kind else ''}"
        ) from error


def _parse_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    if not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _parse_count(value: object) -> int:
    if _parse_number(value) != int(_parse_number(value)) or _parse_number(value) < 0:
        raise ValueError
    return int(_parse_number(value))


def _parse_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _parse_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value):
        raise TypeError
    return str(value)


def _parse_numbers(value: object, count: int | None = None) -> tuple[float, ...]:
    listed = value if isinstance(value, list) else [value]
    if count is not None and (len(listed) != count or not isinstance(value, list)):
        raise ValueError
    return tuple(_parse_number(item) for item in listed)


def _parse_pair(value: object) -> tuple[float, ...]:
    first, last = _parse_numbers(value, 2)
    if not first <= last:
        raise ValueError
    return first, last


def _parse_cosine(value: object) -> str:
    if str(value).lower() not in ("cosine", "cosineannealinglr"):
        raise ValueError
    return "cosine"


PARSERS = {
    "number": _parse_number, "count": _parse_count, "flag": _parse_flag, "text": _parse_text,
    "numbers": _parse_numbers, "pair": _parse_pair,
    "triple": lambda value: _parse_numbers(value, 3), "cosine": _parse_cosine, "any": lambda value: value,
}  # fmt: skip
TYPE_NAMES = {
    "number": "a number", "count": "a whole number of at least 0", "flag": "true or false", "text": "text",
    "numbers": "a number or a list of numbers", "pair": "two numbers, the smaller first", "triple": "three numbers",
    "cosine": "cosine", "any": "",
}  # fmt: skip
