"""The epoch plan of metric learning: batches of P identities with K images each.

The loss of a micro-step compares the images of all ranks with each other, so the P x K batch is the global micro-step of
micro * world rows; with accumulation every micro-step is a P x K batch of its own. The rows of a micro-step follow from (rows,
seed, epoch, micro * world): neither the split of that product nor the accumulation changes them, and resuming is skipping.
Memory is O(rows) integers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from tarpon.shards.sampling.mix import Mix
from tarpon.shards.sampling.pk_sampler import PKSampler
from tarpon.shards.sampling.plan import Slots, repeat_epochs, slice_rank

ORDER_STREAM = 5  # stream of the generator that orders the identities of a batch; pk_sampler.py has 3 and 4


@dataclass(frozen=True, kw_only=True, eq=False)
class IdentityPlan:
    """Every row at least once an epoch, in batches of P = micro * world / K identities with K images each.

    Nothing is left out: when the rows end within the last step, another pass over them fills it. In a batch

    - no image comes twice, and the images of an identity are adjacent;
    - an identity with fewer than K images comes with all it has, and the positions it leaves go to other identities;
    - the last images of an identity, when fewer than K, are topped up with others of its own;
    - an identity comes once. Only one that needs more batches than an epoch has (few identities, or one of them
      dominating) comes with ceil(its bins / batches) times K images, other ones each time, and so does what is
      left when a batch has more positions for identities than there are identities.

    Args:
        rows: (N,) int64 row ids, all different.
        identities: (N,) int64 label of each row.
        instances: K.
    """

    rows: np.ndarray
    identities: np.ndarray
    seed: int
    instances: int = 4

    def __post_init__(self) -> None:
        _ = self.sampler  # checks the rows

    @cached_property
    def sampler(self) -> PKSampler:
        """The bins of this plan's identities."""
        return PKSampler(self.rows, self.identities, seed=self.seed, instances=self.instances)

    def steps(self, global_batch: int) -> int:
        """Optimizer steps an epoch; ValueError when a step cannot be cut into groups of K."""
        return -(-len(self.sampler) // count_identities(global_batch, self.instances))

    def batches(
        self, epoch: int, *, micro: int, accumulation: int = 1, rank: int, world: int, skip: int = 0
    ) -> Iterator[Slots]:
        """One rank's micro-batches of an epoch, after the first `skip` of them: a contiguous slice of each P x K batch.

        Raises:
            ValueError: micro * world is no multiple of K, or more than there are rows.
        """
        num_bins = count_identities(micro * world, self.instances)
        count = self.steps(micro * world * accumulation) * accumulation
        parts = iterate_batches(
            (self.sampler,), lambda ahead: np.full((ahead, 1), num_bins), epoch=epoch, skip=skip, count=count
        )
        yield from slice_rank(parts, epoch=epoch, begin=skip, rank=rank, world=world)

    def stream(self, epoch: int, *, skip: int, micro: int, accumulation: int, rank: int, world: int) -> Iterator[Slots]:
        """One rank's micro-batches from epoch `epoch` on, without end, after the first `skip` of that epoch."""
        cut = partial(self.batches, micro=micro, accumulation=accumulation, rank=rank, world=world)
        return repeat_epochs(cut, epoch=epoch, skip=skip)


@dataclass(frozen=True, kw_only=True, eq=False)
class MixedPlan:
    """Two sets in one training: a share of the rows of every batch from the second, the rest from the first.

    An epoch is as long as it takes for every row of both sets to come at least once: that covers the set that is the
    larger for its share, and the other goes round as often as needed, each pass in another order. Within a batch each
    set keeps the rules of `IdentityPlan`.

    Args:
        first, second: with the same K and no row in common; identities of the two are never the same animal.
        share: of the rows that come from `second`, between 0 and 1. Bins of K rows are shared out by error diffusion:
            after any number of batches the second set has had the share to within half a bin.
        alternate: whole P x K batches in turn instead, the first set in even ones; `share` has no effect then.
    """

    first: IdentityPlan
    second: IdentityPlan
    share: float = 0.5
    alternate: bool = False

    def __post_init__(self) -> None:
        _ = self.mix  # checks the share
        if self.first.instances != self.second.instances:
            raise ValueError(
                f"the two sets have {self.first.instances} and {self.second.instances} instances of an identity; "
                f"give both the same"
            )
        if len(common := np.intersect1d(self.first.rows, self.second.rows)):
            raise ValueError(
                f"row {common[0]} is in both sets; number the second set's rows after the first's (JoinedDatasets.offsets)"
            )

    @cached_property
    def mix(self) -> Mix:
        """How the sets share the batches."""
        return Mix(share=self.share, alternate=self.alternate)

    def steps(self, global_batch: int) -> int:
        """Optimizer steps an epoch; ValueError when a step cannot be cut into groups of K."""
        bins = count_identities(global_batch, self.first.instances)
        need = np.array([len(self.first.sampler), len(self.second.sampler)])
        return self.mix.count_steps(need, bins)

    def batches(
        self, epoch: int, *, micro: int, accumulation: int = 1, rank: int, world: int, skip: int = 0
    ) -> Iterator[Slots]:
        """One rank's micro-batches of an epoch, after the first `skip` of them: a contiguous slice of each P x K batch.

        Raises:
            ValueError: micro * world is no multiple of K, or a set's part of it more than that set has rows.
        """
        num_bins = count_identities(micro * world, self.first.instances)
        count = self.steps(micro * world * accumulation) * accumulation
        samplers = (self.first.sampler, self.second.sampler)
        parts = iterate_batches(samplers, partial(self._bins_per_batch, num_bins), epoch=epoch, skip=skip, count=count)
        yield from slice_rank(parts, epoch=epoch, begin=skip, rank=rank, world=world)

    def stream(self, epoch: int, *, skip: int, micro: int, accumulation: int, rank: int, world: int) -> Iterator[Slots]:
        """One rank's micro-batches from epoch `epoch` on, without end, after the first `skip` of that epoch."""
        cut = partial(self.batches, micro=micro, accumulation=accumulation, rank=rank, world=world)
        return repeat_epochs(cut, epoch=epoch, skip=skip)

    def _bins_per_batch(self, num_bins: int, count: int) -> np.ndarray:
        """Bins of either set in each of `count` batches, (count, 2) int64."""
        return np.diff(self.mix.bins_before(np.arange(count + 1), num_bins), axis=0)


def count_identities(rows: int, instances: int) -> int:
    """P of a batch of `rows` rows over all ranks: rows / K.

    Raises:
        ValueError: the rows are no multiple of K.
    """
    if rows % instances:
        raise ValueError(
            f"a batch of {rows} rows over all GPUs must be a multiple of the {instances} instances of an identity; "
            f"change micro_batch or num_instances"
        )
    return rows // instances


def iterate_batches(
    samplers: Sequence[PKSampler], bins_per_batch: Callable[[int], np.ndarray], *, epoch: int, skip: int, count: int
) -> Iterator[np.ndarray]:
    """Row ids of batches skip..count-1: an identity's beside each other, the identities of all samplers in random order.

    Args:
        bins_per_batch: batches -> (batches, samplers) int64, bins of each sampler in each of an epoch's first batches.
        count: batches that give every sampler one pass or more.
    """
    ahead = bins_per_batch(2 * count + 2)  # to the end of any pass begun, so that `count`, and so accumulation, moves no row
    streams = [sampler.iterate_bins(own[own > 0], epoch=epoch) for sampler, own in zip(samplers, ahead.T, strict=True)]
    start = np.cumsum([0, *(len(sampler.sizes) for sampler in samplers)])  # of a sampler's identities among those of all
    for batch, own in enumerate(ahead[:count]):
        bins = [(number, next(streams[number])) for number in np.flatnonzero(own)]
        if batch < skip:
            continue
        picked = [(number, samplers[number].fill_bins(held, epoch=epoch, batch=batch)) for number, held in bins]
        rows = np.concatenate([samplers[number].rows[index] for number, index in picked])
        identity = np.concatenate([samplers[number].identity[index] + start[number] for number, index in picked])
        names, code = np.unique(identity, return_inverse=True)
        order = np.random.default_rng((samplers[0].seed, epoch, ORDER_STREAM, batch)).permutation(len(names))
        yield rows[np.argsort(order[code], kind="stable")]
