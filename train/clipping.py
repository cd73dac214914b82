"""Shortens a gradient that lies in parts on several processes, without a look at its length by the host."""

from collections.abc import Iterable

import torch
from torch import Tensor

SMALL = 1e-6  # added to the length, as torch and DeepSpeed do


def clip_parts(parts: Iterable[Tensor | None], *, limit: float, world: int) -> Tensor:
    """Scale the parts in place so that all processes' parts together are no longer than `limit`. Collective.

    Args:
        parts: this process's part of the gradient, in tensors of any shape; None is nothing.

    Returns:
        () float32, the length before.
    """
    own = [part for part in parts if part is not None]
    total = torch.stack(torch._foreach_norm(own)).float().square().sum()
    if world > 1:
        torch.distributed.all_reduce(total)
    length = total.sqrt()
    torch._foreach_mul_(own, (limit / (length + SMALL)).clamp(max=1.0))
    return length
