"""What every process holds, brought to rank 0 alone: whole splits are not sent to those that do not score them."""

import torch

from tarpon.train.engine import DistContext


def collect(context: DistContext, value: object) -> list | None:
    """Everybody's value, in rank order, on rank 0; None on the others. Collective: every process must call it."""
    if context.world == 1:
        return [value]
    values: list | None = [None] * context.world if context.first else None
    torch.distributed.gather_object(value, values, dst=0)
    return values
