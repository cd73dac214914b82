"""What processes hand each other: rows of a step, so that a loss over pairs sees it whole, and a gallery, a tile at a time.

G rows of all processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class ProcessExchange:
    """What processes that search together ask of each other. All is collective."""

    context: DistContext

    @property
    def rank(self) -> int:
        return self.context.rank

    @property
    def world(self) -> int:
        return self.context.world

    def gather(self, value: object) -> list:
        """Everybody's value, in rank order, on every process: for what is small."""
        values: list = [None] * self.context.world
        torch.distributed.all_gather_object(values, value)
        return values

    def pass_tiles(self, rows: Tensor, counts: Sequence[int], *, size: int) -> Iterator[Tensor]:
        """Rows of all processes in rank order, up to `size` at a time, (n, D) on the context's device. To be gone through
        by all, to the end.

        Args:
            rows: (n, D) of this process, one dtype on all. counts: rows of every process.
        """
        for rank, count in enumerate(counts):
            for first in range(0, count, size):
                shape = (min(size, count - first), rows.shape[1])
                tile = torch.empty(shape, dtype=rows.dtype, device=self.context.device)
                if rank == self.context.rank:
                    tile.copy_(rows[first : first + size])
                torch.distributed.broadcast(tile, src=rank)
                yield tile


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
