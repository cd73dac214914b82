"""Rows of all processes on every process, so that a loss over pairs sees the whole step.

G rows of all processes.
"""

import torch
from torch import Tensor

from tarpon.train.engine import DistContext


def gather_rows(context: DistContext, rows: Tensor) -> Tensor:
    """All processes' rows in the order of their ranks, with gradient where they have one. Collective.

    Every process must compute the same loss from what this returns, and the gradients of parameters must then be averaged over
    processes, as the engine does: parameters on either side get the gradient that one process with the whole step would find.
    That is why nothing is sent in the backward: every process knows the slope of its own rows, and times the number of
    processes it outweighs the averaging.

    Args:
        rows: (B, ...) of any dtype, equally many on every process.

    Returns:
        (G, ...); `rows` itself on a single process.
    """
    return rows if context.world == 1 else _GatherRows.apply(rows, context.rank, context.world)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, rank: int, world: int) -> Tensor:
        ctx.rank, ctx.world = rank, world
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world)]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None, None]:
        return slope.chunk(ctx.world)[ctx.rank] * ctx.world, None, None
