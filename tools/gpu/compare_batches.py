"""First batches of a task as its training reads them, on a chosen device, and how a batch of the GPU differs from the CPU's."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from tarpon.tools.gpu.stepper import build_problem
from tarpon.train.engine import DistContext

LEVELS = 0.04  # of normalised pixels, mean: 2 to 2.5 grey levels; decoders and filters round differently
NUMBER = 2  # batches that are compared
Batch = dict[str, Tensor]


def compare(cpu: Batch, gpu: Batch) -> dict[str, dict]:
    """Field -> {"ok": whether it is the same, "said": how far off in words}. Pixels may differ by LEVELS in the mean."""
    found = {}
    for name in sorted(cpu.keys() | gpu.keys()):
        if name not in cpu or name not in gpu:
            found[name] = {"ok": False, "said": "in one of the two only"}
            continue
        one, two = cpu[name], gpu[name].cpu()
        if one.shape != two.shape or one.dtype != two.dtype:
            found[name] = {"ok": False, "said": f"{tuple(one.shape)} {one.dtype} and {tuple(two.shape)} {two.dtype}"}
        elif one.is_floating_point() and one.ndim >= 4:  # pixels
            off = (one - two).abs()
            ok = float(off.mean()) < LEVELS
            found[name] = {"ok": ok, "said": f"mean {off.mean():.4f}, most {off.max():.3f}, allowed {LEVELS}"}
        else:
            found[name] = {"ok": torch.equal(one, two), "said": "to the bit" if torch.equal(one, two) else "other values"}
    return found


def read_training_batches(task: str, folder: Path, gpu: int | None, *, options: Sequence[str]) -> Iterator[Batch]:
    """The first NUMBER training batches of a task, copied: the loader reuses its buffers.

    Args:
        folder: the task's shards.
        gpu: ordinal; None: CPU.
        options: of the training, as `--name=value`.
    """
    device = torch.device("cpu") if gpu is None else torch.device("cuda", gpu)
    context = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=device)
    _, problem = build_problem(task, folder, options, context)
    for batch in islice(problem.data.batches(0, 0), NUMBER):
        yield {field: value.clone() for field, value in batch.items()}
