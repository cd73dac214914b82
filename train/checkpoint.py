"""Checkpoints as one safetensors file, replaced by rename: plain tensors and JSON, nothing pickled.

They hold whole parameters and whole optimizer state, so a run goes on under another ZeRO stage or number of processes.
"""

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tarpon.shards import atomic
from tarpon.train.schedule import Plateau
from tarpon.train.tensor_checksum import checksum

# the newest whole one; last_1 and so on are those before it
SHA256 = "sha256"  # the entry of a file's metadata
LAST, BEST = "checkpoints/last.safetensors", "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a run is: all that the order of samples depends on."""

    step: int = 0  # optimizer steps done
    epoch: int = 0
    micro: int = 0  # micro-batches of this epoch done by each process; for another number of them see `rescaled`


def rescale(at: Position, *, steps_per_epoch: int, accumulation: int) -> Position:
    """The same place, after a whole optimizer step, in a run with another accumulation (more or fewer processes)."""
    return replace(at, micro=(at.step - at.epoch * steps_per_epoch) * accumulation)


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Copies of parameters and buffers on the CPU, contiguous and unshared."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in model.state_dict().items()}


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"tarpon": json.dumps(meta), SHA256: checksum(tensors, meta)}
    with atomic.replace(path) as draft:
        try:
            save_file(dict(tensors), draft, metadata=told)
        except SafetensorError as error:  # it wraps what the system says
            raise OSError(
                f"{path}: not saved ({error}); make room there, the run goes on from the checkpoint before"
            ) from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """ValueError in one line when the file is missing or not one of ours."""
    if not path.exists():
        raise ValueError(f"{path}: no such checkpoint; start without --resume, or give the right run folder")
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            meta = json.loads(told["tarpon"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        if SHA256 in told and told[SHA256] != checksum(tensors, meta):  # those of earlier versions have none
            raise ValueError("its checksum differs: the file was damaged after it was written")
        return tensors, meta
    except (SafetensorError, KeyError, OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({error})") from error


def save_last(
    folder: Path,
    *,
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    ema: Mapping[str, Tensor],
    at: Position,
    plateau: Plateau,
    fingerprint: str,
    memory: Sequence[dict] = (),
    keep: int = 1,
) -> None:
    """Write the newest checkpoint and keep the `keep` newest; at any moment one that is whole stands under its name.

    Args:
        memory: what else each process goes on with, as JSON.
    """
    parts = {"model": model, "optimizer": optimizer, "ema": ema}
    tensors = {f"{part}/{name}": value for part, held in parts.items() for name, value in held.items()}
    meta = {
        "position": asdict(at),
        "plateau": asdict(plateau),
        "fingerprint": fingerprint,
        "memory": list(memory),
    }
    path = folder / LAST
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.remove_drafts(path.parent)
    new = path.with_name(f"{path.stem}_new{path.suffix}")
    save_tensors(new, tensors, meta)
    if keep > 1 and path.exists():
        for number in range(keep - 1, 1, -1):
            if (older := add_number(path, number - 1)).exists():
                os.replace(older, add_number(path, number))
        os.replace(path, add_number(path, 1))
    os.replace(new, path)
    atomic.sync_folder(path.parent)
    for number, old in list_checkpoints(folder).items():
        if number >= keep:
            old.unlink()


def add_number(path: Path, number: int) -> Path:
    """last.safetensors -> last_1.safetensors: the checkpoint `number` before it."""
    return path.with_name(f"{path.stem}_{number}{path.suffix}")


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """How many came after it -> a checkpoint of a run, newest first; one that was written and not yet renamed is the newest."""
    path = folder / LAST
    found = {-1: path.with_name(f"{path.stem}_new{path.suffix}"), 0: path}
    found |= {int(m[1]): p for p in path.parent.glob("*") if (m := re.fullmatch(rf"{path.stem}_(\d+){path.suffix}", p.name))}
    return {number: found[number] for number in sorted(found) if found[number].exists()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Last:
    """What a run goes on from."""

    path: Path
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    ema: dict[str, Tensor]  # empty where it was off
    at: Position
    plateau: Plateau
    memory: list[dict]  # of each process
    passed: tuple[str, ...]  # newer ones that are not whole: a line each


def load_last(folder: Path, *, fingerprint: str) -> Last:
    """The newest whole checkpoint.

    Raises:
        ValueError: there is none, or the run's data, seed or global batch are not the same.
    """
    passed: list[str] = []
    paths = list(list_checkpoints(folder).values()) or [folder / LAST]
    for path in paths:
        try:
            held = load_tensors(path)
        except ValueError as error:
            passed.append(str(error))
        else:
            return _last(path, *held, fingerprint=fingerprint, passed=tuple(passed))
    raise ValueError(passed[0])


def read_last(path: Path, *, fingerprint: str) -> Last:
    """One checkpoint; ValueError as `load_last`."""
    return _last(path, *load_tensors(path), fingerprint=fingerprint)


def _last(path: Path, tensors: Mapping[str, Tensor], meta: dict, *, fingerprint: str, passed: tuple[str, ...] = ()) -> Last:
    refuse_other(path, meta["fingerprint"], fingerprint)
    split = {
        part: {name.removeprefix(f"{part}/"): value for name, value in tensors.items() if name.startswith(f"{part}/")}
        for part in ("model", "optimizer", "ema")
    }
    at, plateau, memory = Position(**meta["position"]), Plateau(**meta["plateau"]), meta.get("memory", [])
    return Last(path=path, **split, at=at, plateau=plateau, memory=memory, passed=passed)


PRINTED = ("data or labels", "seed", "global_batch")  # the parts of a fingerprint; what follows is the task's own


def refuse_other(path: Path, was: str, now: str) -> None:
    """ValueError naming what is not as it was in a run that is to be gone on with."""
    if was == now:
        return
    pairs = list(zip_longest(was.split(":"), now.split(":")))
    at = next(at for at, (one, other) in enumerate(pairs) if one != other)
    name = PRINTED[at] if at < len(PRINTED) else "options that choose or order the samples"
    values = f" ({pairs[at][0]}, now {pairs[at][1]})" if at in (1, 2) else ""
    raise ValueError(f"{path} was trained on other {name}{values}; resume with the same, or use a new --out")


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], *, name: str) -> None:
    """ValueError naming the first difference when the weights are another model's."""
    own = model.state_dict()
    for key in sorted(set(own) ^ set(tensors)):
        raise ValueError(f"{name}: weight {key} is only in the {'model' if key in own else 'file'}; the model options differ")
    for key, value in own.items():
        if value.shape != tensors[key].shape:
            raise ValueError(f"{name}: weight {key} is {tuple(tensors[key].shape)}, the model wants {tuple(value.shape)}")
    with torch.no_grad():
        model.load_state_dict({key: tensors[key] for key in own})


def find_exported(path: Path, *, name: str) -> Path:
    """The file that a task exported: the one in a run folder, or the one given; ValueError where there is none."""
    found = path / name if path.is_dir() else path
    if not found.exists():
        if path.is_dir():
            raise ValueError(f"{path}: no {name} here; give the folder of a run of this task whose training has ended")
        raise ValueError(f"{path}: no such checkpoint; give a run folder or its {name}")
    return found


def load_exported(path: Path, *, keys: Collection[str], name: str) -> dict:
    """A file that a task exported with torch.save, `weights_only`; ValueError in one line when it is missing or something else.

    Args:
        path: the file, or the run folder that holds it.
        keys: what it must hold; name: what the file is called in a run folder.
    """
    path = find_exported(path, name=name)
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, EOFError, RuntimeError, OSError, LookupError, ValueError) as error:  # by what the file is
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: not a checkpoint of this task ({reason}); give a run's {name}") from error
    if missing := set(keys) - set(held if isinstance(held, dict) else ()):
        raise ValueError(f"{path}: lacks {', '.join(sorted(missing))}; give a {name} written by Tarpon")
    return held
