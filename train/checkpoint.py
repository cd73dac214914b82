"""Checkpoints as one safetensors file, replaced by rename: plain tensors and JSON, nothing pickled.

They hold whole parameters and whole optimizer state, so a run goes on under another ZeRO stage or number of processes.
"""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tarpon.train.schedule import Plateau

LAST, BEST = "checkpoints/last.safetensors", "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a run is: all that the order of samples depends on."""

    step: int = 0  # optimizer steps done
    epoch: int = 0
    micro: int = 0  # micro-batches of this epoch done by each process; for another number of them see `rescaled`


def rescaled(at: Position, *, steps_per_epoch: int, accumulation: int) -> Position:
    """The same place, after a whole optimizer step, in a run with another accumulation (more or fewer processes)."""
    return replace(at, micro=(at.step - at.epoch * steps_per_epoch) * accumulation)


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Copies of parameters and buffers on the CPU, contiguous and unshared."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in model.state_dict().items()}


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.tmp")
    save_file(dict(tensors), draft, metadata={"tarpon": json.dumps(meta)})
    with open(draft, "rb") as file:
        os.fsync(file.fileno())
    os.replace(draft, path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """ValueError in one line when the file is missing or not one of ours."""
    if not path.exists():
        raise ValueError(f"{path}: no such checkpoint; start without --resume, or give the right run folder")
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["tarpon"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118  not a dict
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
) -> None:
    parts = {"model": model, "optimizer": optimizer, "ema": ema}
    tensors = {f"{part}/{name}": value for part, held in parts.items() for name, value in held.items()}
    save_tensors(folder / LAST, tensors, {"position": asdict(at), "plateau": asdict(plateau), "fingerprint": fingerprint})


@dataclass(frozen=True, kw_only=True, eq=False)
class Last:
    """What a run goes on from."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    ema: dict[str, Tensor]  # empty where it was off
    at: Position
    plateau: Plateau


def load_last(folder: Path, *, fingerprint: str) -> Last:
    """ValueError when the run's data or seed are not the same."""
    tensors, meta = load_tensors(folder / LAST)
    if meta["fingerprint"] != fingerprint:
        raise ValueError(
            f"{folder / LAST} was trained on other data, seed or batch size; resume with the same, or use a new --out"
        )
    split = {
        part: {name.removeprefix(f"{part}/"): value for name, value in tensors.items() if name.startswith(f"{part}/")}
        for part in ("model", "optimizer", "ema")
    }
    return Last(**split, at=Position(**meta["position"]), plateau=Plateau(**meta["plateau"]))


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


def load_exported(path: Path, *, keys: Collection[str], name: str) -> dict:
    """A file that a task exported with torch.save, `weights_only`; ValueError in one line when it is missing or something else.

    Args:
        keys: what it must hold; name: what the file is called in a run folder.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such checkpoint; give a run's {name}")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, EOFError, RuntimeError, OSError, LookupError, ValueError) as error:  # by what the file is
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: not a checkpoint of this task ({reason}); give a run's {name}") from error
    if missing := set(keys) - set(held if isinstance(held, dict) else ()):
        raise ValueError(f"{path}: lacks {', '.join(sorted(missing))}; give a {name} written by Tarpon")
    return held
