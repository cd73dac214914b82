"""First batches of every task as its training reads them, on a device of one's choice, and how two makings differ."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from tarpon.tools.gpu.words import problem
from tarpon.train.engine import DistContext

LEVELS = 0.04  # of normalised pixels, mean: 2 to 2.5 grey levels; decoders and filters round differently
NUMBER = 2  # batches of a making
Batch = dict[str, Tensor]


def differences(cpu: Batch, gpu: Batch) -> dict[str, dict]:
    """For every field whether it is the same, and in words how far off."""
    told = {}
    for name in sorted(cpu.keys() | gpu.keys()):
        if name not in cpu or name not in gpu:
            told[name] = {"ok": False, "said": "in one of the two only"}
            continue
        one, two = cpu[name], gpu[name].cpu()
        if one.shape != two.shape or one.dtype != two.dtype:
            told[name] = {"ok": False, "said": f"{tuple(one.shape)} {one.dtype} and {tuple(two.shape)} {two.dtype}"}
        elif one.is_floating_point() and one.ndim >= 4:  # pixels
            off = (one - two).abs()
            ok = float(off.mean()) < LEVELS
            told[name] = {"ok": ok, "said": f"mean {off.mean():.4f}, most {off.max():.3f}, allowed {LEVELS}"}
        else:
            told[name] = {"ok": torch.equal(one, two), "said": "to the bit" if torch.equal(one, two) else "other values"}
    return told


def training_batches(name: str, words: Sequence[str], folder: Path, gpu: int | None) -> Iterator[Batch]:
    """The first training batches of a task; what they hold on the CPU does not depend on the next ones."""
    device = torch.device("cpu") if gpu is None else torch.device("cuda", gpu)
    context = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=device)
    for batch in islice(problem(name, folder, words, context).data.batches(0, 0), NUMBER):
        yield {field: value.clone() for field, value in batch.items()}
