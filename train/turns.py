"""A process's share of the work: which slots it trains on, which rows it evaluates. What the tasks' loaders are given."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from tarpon.shards.sampling import plan
from tarpon.train.config import Run
from tarpon.train.engine import DistContext


class Streams(Protocol):
    """What is asked of a plan: `EpochPlan`, `IdentityPlan` and `MixedPlan` have it."""

    def stream(
        self, epoch: int, *, skip: int, micro: int, accumulation: int, rank: int, world: int
    ) -> Iterator[plan.Slots]: ...


def to_train(epochs: Streams, run: Run, context: DistContext, *, first: int, skip: int) -> Iterator[plan.Slots]:
    """This process's micro-batches from epoch `first` on, without end, after `skip` of that epoch."""
    accumulation = run.accumulation(context.world)
    return epochs.stream(
        first, skip=skip, micro=run.micro_batch, accumulation=accumulation, rank=context.rank, world=context.world
    )


def to_evaluate(rows: np.ndarray, run: Run, context: DistContext) -> Iterator[np.ndarray]:
    """This process's micro-batches of `rows` in their order, equally many on every process; -1 pads the last."""
    for turn in plan.in_turn(len(rows), micro=run.micro_batch, rank=context.rank, world=context.world):
        yield np.where(turn >= 0, rows[turn], -1)
