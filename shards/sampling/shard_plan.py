"""The epoch plan over shards: the order is of shards, and the rows of a few are put in order when they are reached.

It promises what `plan.EpochPlan` promises (a pure function of the data set, seed and epoch; the samples of a step do not depend
on the number of processes; resuming is skipping) and is another order: that one holds every row, this one what a line a shard
tells. Any step of any rank costs O(shards + window). S shards, of which only those with rows to read are planned.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from tarpon.shards.sampling.plan import Slots, count_steps, rebatch, repeat_epochs, slice_rank

SHARD_STREAM, WINDOW_STREAM, OFFSET_STREAM = 6, 7, 8  # streams of the generator; 1 to 5 are those of the other plans


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardPlan:
    """Every row once an epoch in a shuffled order, or as often as its weight says.

    Args:
        counts: (S,) int64 rows to read in each shard.
        rows_of: shard -> (counts[shard],) int64 row ids.
        totals: (S,) float64 weight of each shard, the sum of its rows' weights; None: every row weighs the same.
        weights_of: shard -> (counts[shard],) float64 > 0, with `totals`; a row comes weight / mean(weight) times an epoch,
            rounded up or down (systematic resampling), so that an epoch always has as many slots as there are rows.
        window: shards shuffled together; larger mixes better, smaller reads more sequentially.
    """

    counts: np.ndarray
    rows_of: Callable[[int], np.ndarray]
    seed: int
    totals: np.ndarray | None = None
    weights_of: Callable[[int], np.ndarray] | None = None
    window: int = 8

    def __post_init__(self) -> None:
        if (self.totals is None) != (self.weights_of is None):
            raise ValueError("totals and weights_of belong together; give both or neither")

    def steps(self, global_batch: int) -> int:
        """Optimizer steps an epoch; ValueError when the rows cannot fill one."""
        return count_steps(int(self.counts.sum()), global_batch)

    def batches(
        self, epoch: int, *, micro: int, accumulation: int = 1, rank: int, world: int, skip: int = 0
    ) -> Iterator[Slots]:
        """One rank's micro-batches of an epoch, after the first `skip` of them.

        All ranks get the same number. Rows beyond the last full step are left out, a different few each epoch.
        """
        whole = micro * world
        count = self.steps(whole * accumulation) * accumulation
        chunks = self.order(epoch, skip=skip * whole) if skip < count else iter(())
        parts = (part for _, part in zip(range(skip, count), rebatch(chunks, whole), strict=False))
        yield from slice_rank(parts, epoch=epoch, begin=skip, rank=rank, world=world)

    def stream(self, epoch: int, *, skip: int, micro: int, accumulation: int, rank: int, world: int) -> Iterator[Slots]:
        """One rank's micro-batches from epoch `epoch` on, without end, after the first `skip` of that epoch."""
        cut = partial(self.batches, micro=micro, accumulation=accumulation, rank=rank, world=world)
        return repeat_epochs(cut, epoch=epoch, skip=skip)

    def order(self, epoch: int, *, skip: int = 0) -> Iterator[np.ndarray]:
        """Row ids of one epoch after its first `skip` slots, a window of shards at a time."""
        shards = np.flatnonzero(self.counts)
        shards = shards[np.random.default_rng((self.seed, epoch, SHARD_STREAM)).permutation(len(shards))]
        windows = -(-len(shards) // self.window)
        weights = self._window_ends(shards)  # cumulated weight at the end of each window, in slots
        offset = np.random.default_rng((self.seed, epoch, OFFSET_STREAM)).random() if self.totals is not None else 0.0
        ends = np.floor(weights + offset).astype(np.int64)  # slots up to the end of each window
        for number in range(int(np.searchsorted(ends, skip, side="right")), windows):
            begin, before = (int(ends[number - 1]), float(weights[number - 1])) if number else (0, 0.0)
            rng = np.random.default_rng((self.seed, epoch, WINDOW_STREAM, number))
            members = shards[number * self.window : (number + 1) * self.window].tolist()
            rows = np.concatenate([self.rows_of(shard) for shard in members])
            if self.totals is not None:
                rows = rows[self._resample(members, before=before, upto=float(weights[number]), offset=offset)]
            yield rng.permutation(rows)[max(skip - begin, 0) :]

    def _window_ends(self, shards: np.ndarray) -> np.ndarray:
        """(windows,) float64: cumulated weight of the shards in their order, scaled so that the last is the number of rows."""
        total = int(self.counts.sum())
        upto = np.cumsum(self.counts[shards] if self.totals is None else self.totals[shards])
        ends = upto[np.minimum(np.arange(self.window, len(shards) + self.window, self.window), len(shards)) - 1]
        if self.totals is not None:
            ends = ends * (total / ends[-1])
            ends[-1] = total
        return ends.astype(np.float64)

    def _resample(self, members: list[int], *, before: float, upto: float, offset: float) -> np.ndarray:
        """Places in a window's rows, each as often as its weight says, between two cumulated weights."""
        own = np.cumsum(np.concatenate([self.weights_of(shard) for shard in members]))
        marks = np.floor(before + own * ((upto - before) / own[-1]) + offset).astype(np.int64)
        marks[-1] = np.floor(upto + offset)  # as the windows were counted, whatever the rounding
        first = int(np.floor(before + offset))
        return np.repeat(np.arange(len(own)), np.diff(np.minimum(marks, marks[-1]), prepend=first))
