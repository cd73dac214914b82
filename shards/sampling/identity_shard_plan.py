"""P x K batches over shards: as `pk_plan`, of an index of identities; the images of a few shards are put in order at a time.

It promises what the plans of `pk_plan` promise and is another order. A window of shards is drawn when it is reached; which one
holds a step follows from the shards' numbers of bins. Memory is O(identities + shards + window), a step O(P K) and its share
of the window.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from tarpon.shards.sampling.identity_index import FREE, IdentityIndex
from tarpon.shards.sampling.mix import Mix
from tarpon.shards.sampling.pk_plan import count_identities
from tarpon.shards.sampling.plan import Slots, repeat_epochs, slice_rank

SHARD_STREAM, WINDOW_STREAM, FILL_STREAM, ORDER_STREAM = 9, 10, 11, 12  # of the generator; 1 to 8 are the other plans'
WINDOW = 8  # shards drawn together


@dataclass(frozen=True, kw_only=True, eq=False)
class IdentityShardPlan:
    """Every image at least once an epoch, in batches with the promises of `pk_plan.IdentityPlan`, but for the last of them.

    Here an identity comes once in a batch unless it has more bins than half of the batches of its window.

    Args:
        sets: one index, or two with the same K.
        mix: how the two share the batches; None with one.
        offsets: number to add to the row ids of each set.
    """

    sets: tuple[IdentityIndex, ...]
    seed: int
    mix: Mix | None = None
    offsets: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if len(self.sets) != len(self.offsets) or (len(self.sets) == 2) != (self.mix is not None) or len(self.sets) > 2:
            raise ValueError(f"{len(self.sets)} sets, {len(self.offsets)} offsets and mix={self.mix} do not belong together")
        if len({own.instances for own in self.sets}) > 1:
            sizes = " and ".join(str(own.instances) for own in self.sets)
            raise ValueError(f"the two sets have {sizes} instances of an identity; give both the same")

    @property
    def instances(self) -> int:
        """K"""
        return self.sets[0].instances

    @cached_property
    def _need(self) -> np.ndarray:
        """Bins of one pass over each set."""
        return np.array([int(own.units.bins.sum()) for own in self.sets])

    @cached_property
    def _images(self) -> np.ndarray:
        """(sets + 1,) number of the first image of each set among those of all, and the end."""
        return np.cumsum([0, *(len(own) for own in self.sets)])

    def steps(self, global_batch: int) -> int:
        """Optimizer steps an epoch; ValueError when a step cannot be cut into groups of K."""
        bins = count_identities(global_batch, self.instances)
        return self.mix.count_steps(self._need, bins) if self.mix else -(-int(self._need[0]) // bins)

    def batches(
        self, epoch: int, *, micro: int, accumulation: int = 1, rank: int, world: int, skip: int = 0
    ) -> Iterator[Slots]:
        """One rank's micro-batches of an epoch, after the first `skip` of them: a contiguous slice of each P x K batch.

        Raises:
            ValueError: micro * world is no multiple of K, or a set's part of it more than that set has images.
        """
        num_bins = count_identities(micro * world, self.instances)
        count = self.steps(micro * world * accumulation) * accumulation
        parts = self._iterate(num_bins, epoch=epoch, skip=min(skip, count), count=count)
        for slots in slice_rank(parts, epoch=epoch, begin=skip, rank=rank, world=world):
            yield replace(slots, rows=self._rows_of(slots.rows))

    def stream(self, epoch: int, *, skip: int, micro: int, accumulation: int, rank: int, world: int) -> Iterator[Slots]:
        """One rank's micro-batches from epoch `epoch` on, without end, after the first `skip` of that epoch."""
        cut = partial(self.batches, micro=micro, accumulation=accumulation, rank=rank, world=world)
        return repeat_epochs(cut, epoch=epoch, skip=skip)

    def _iterate(self, num_bins: int, *, epoch: int, skip: int, count: int) -> Iterator[np.ndarray]:
        """Images, numbered over all sets, of batches skip..count-1."""
        before = self._bins_before(np.arange(skip, count + 1), num_bins)
        for number, own in enumerate(self.sets):
            check_size(own, int(np.diff(before[:, number]).max(initial=0)))
        drawn = [
            DrawnBins(own, seed=self.seed + number, epoch=epoch, begin=int(before[0, number]))
            for number, own in enumerate(self.sets)
        ]
        for batch in range(skip, count):
            taken = before[batch - skip + 1] - before[batch - skip]
            picked = [
                self._images[number] + bins.take(int(taken[number]), batch=batch)
                for number, bins in enumerate(drawn)
                if taken[number]
            ]
            images = np.concatenate(picked)
            names, code = np.unique(self._identities_of(images), return_inverse=True)
            order = np.random.default_rng((self.seed, epoch, ORDER_STREAM, batch)).permutation(len(names))
            yield images[np.argsort(order[code], kind="stable")]

    def _bins_before(self, batches: np.ndarray, num_bins: int) -> np.ndarray:
        """(batches, sets) bins of each set before each batch."""
        return self.mix.bins_before(batches, num_bins) if self.mix else num_bins * batches[:, None]

    def _identities_of(self, images: np.ndarray) -> np.ndarray:
        """A number for each image's identity, those of two sets apart."""
        number, found = np.searchsorted(self._images, images, side="right") - 1, np.zeros(len(images), np.int64)
        for at, own in enumerate(self.sets):
            inside = number == at
            found[inside] = own.identities_of(images[inside] - self._images[at]) * len(self.sets) + at
        return found

    def _rows_of(self, images: np.ndarray) -> np.ndarray:
        """Row ids, numbered over all sets, of images."""
        number, rows = np.searchsorted(self._images, images, side="right") - 1, np.zeros(len(images), np.int64)
        for at, own in enumerate(self.sets):
            inside = number == at
            rows[inside] = own.rows_of(images[inside] - self._images[at]) + self.offsets[at]
        return rows


def check_size(index: IdentityIndex, num_bins: int) -> None:
    """ValueError where a batch has more positions for a set than it has images."""
    if num_bins * index.instances > len(index):
        raise ValueError(
            f"a batch has {num_bins * index.instances} places for a set of {len(index)} images, and no image may come twice in "
            f"it; lower micro_batch, or use more data"
        )


class DrawnBins:
    """The bins of one set in the order of an epoch from some bin on, pass after pass, a window of shards at a time."""

    def __init__(self, index: IdentityIndex, *, seed: int, epoch: int, begin: int) -> None:
        self._index, self._key = index, (seed, epoch)
        self._windows = self._iterate(begin)
        self._bins, self._units = np.empty((0, index.instances), np.int64), np.empty(0, np.int64)

    def _iterate(self, begin: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(bins, units) of each window, of the first those after bin `begin`."""
        units = self._index.units
        shards = np.flatnonzero(units.bins)
        first, inside = divmod(begin, int(units.bins.sum()))
        for number in itertools.count(first):
            order = shards[np.random.default_rng((*self._key, SHARD_STREAM, number)).permutation(len(shards))]
            windows = [order[at : at + WINDOW] for at in range(0, len(order), WINDOW)]
            ends = np.cumsum(units.bins[order])[np.minimum(np.arange(1, len(windows) + 1) * WINDOW, len(order)) - 1]
            for place in range(int(np.searchsorted(ends, inside, side="right")), len(windows)):
                members = units.of_shards(windows[place])
                bins = units.draw_bins(members, np.random.default_rng((*self._key, WINDOW_STREAM, number, place)))
                yield bins[max(inside - int(ends[place] - len(bins)), 0) :], members
            inside = 0

    def take(self, count: int, *, batch: int) -> np.ndarray:
        """(count * K,) images of the next bins: all positions filled, none twice."""
        touched = [self._units]
        while len(self._bins) < count:
            bins, self._units = next(self._windows)
            self._bins = np.concatenate([self._bins, bins])
            touched.append(self._units)
        bins, self._bins = self._bins[:count], self._bins[count:]
        images = np.array(list(dict.fromkeys(bins[bins != FREE].tolist())), np.int64)
        if len(images) == bins.size:
            return images
        rng = np.random.default_rng((*self._key, FILL_STREAM, batch))
        return self._fill(images, bins.size, np.unique(np.concatenate(touched)), rng)

    def _fill(self, images: np.ndarray, size: int, candidates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """`size` images: those of a batch, and others of identities that it lacks, of the units `candidates` first."""
        units = self._index.units
        held = self._index.identities_of(images)
        absent = candidates[~np.isin(self._index.identities_of(units.begin[candidates]), held)]
        while (free := size - len(images)) and len(choices := absent[units.images[absent] >= min(self._index.instances, free)]):
            unit = choices[rng.integers(len(choices))]
            picked = rng.choice(units.images[unit], min(self._index.instances, free), replace=False)
            images = np.concatenate([images, units.begin[unit] + picked])
            taken = self._index.identities_of(units.begin[[unit]])
            absent = absent[self._index.identities_of(units.begin[absent]) != taken]
        if len(images) < size:  # the last resort of a small set: any images that the batch lacks
            order = rng.permutation(len(units.begin))
            rest = np.concatenate([units.begin[unit] + np.arange(units.images[unit]) for unit in order.tolist()])
            images = np.concatenate([images, rest[~np.isin(rest, images)][: size - len(images)]])
        return images
