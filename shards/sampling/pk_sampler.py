"""P x K sampling: the images of each identity in bins of K positions, spread over batches so that identities rarely repeat.

An identity with K images or more fills bins of its own, the last topped up with other images of its own. Identities with
fewer images share bins (bin packing); positions that stay free are filled, batch by batch, with images of identities that the
batch lacks. The number of bins follows from the sizes of the identities alone, so an epoch's length is known before its order.

I identities, N rows, B bins, K positions a bin. `identity` is a number 0..I-1, `index` the index of a row in `rows`.
"""

from collections import Counter
from collections.abc import Iterator, Set
from functools import cached_property
from itertools import chain

import numpy as np

PASS_STREAM, FILL_STREAM = 3, 4  # streams of the generator; 1 and 2 are plan.py's
FREE = -1  # a position of a bin that holds no row


class PKSampler:
    """Bins of one set of identities, and the order they are drawn in.

    Args:
        rows: (N,) int64 row ids, no two alike. identities: (N,) int64 labels. instances: K.
    """

    def __init__(self, rows: np.ndarray, identities: np.ndarray, *, seed: int, instances: int) -> None:
        if len(rows) != len(identities) or len(rows) == 0:
            raise ValueError(f"got {len(rows)} rows and {len(identities)} identities; every row needs its identity")
        if len(np.unique(rows)) != len(rows):
            raise ValueError("a row id comes twice among the rows of the identities; give each row once")
        if instances < 1:
            raise ValueError(f"instances={instances} must be 1 or more images of an identity in a batch")
        self.rows, self.seed, self.instances = np.asarray(rows, np.int64), seed, instances
        _, self.identity, self.sizes = np.unique(identities, return_inverse=True, return_counts=True)
        self.first = np.cumsum(self.sizes) - self.sizes  # of an identity's rows in `members`
        self.members = np.argsort(self.identity, kind="stable")
        self.own_bins = np.where(self.sizes >= instances, -(-self.sizes // instances), 0)  # bins of its own

    @cached_property
    def bin_packing(self) -> tuple[np.ndarray, np.ndarray]:
        """(bin, first position in it) of each identity with fewer than K images, from the largest identity to the smallest."""
        small = np.sort(self.sizes[self.own_bins == 0])[::-1]
        bin_index, position = np.zeros((2, len(small)), np.int64)
        large, little, number = 0, len(small) - 1, 0
        while large <= little:
            bin_index[large], used = number, small[large]
            large += 1
            while large <= little and used + small[little] <= self.instances:
                bin_index[little], position[little] = number, used
                used += small[little]
                little -= 1
            number += 1
        return bin_index, position

    @property
    def shared_bins(self) -> int:
        """Number of bins that identities with fewer than K images share."""
        return int(self.bin_packing[0].max(initial=-1)) + 1

    def __len__(self) -> int:
        """Number of bins of one pass over all rows."""
        return int(self.own_bins.sum()) + self.shared_bins

    def draw_bins(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One pass: (B, K) int64 `index` or FREE, and the (B,) ascending owner: an identity, or I + b for the shared bin b."""
        size, order = self.instances, np.lexsort((rng.random(len(self.rows)), self.identity))
        owner = np.repeat(np.arange(len(self.sizes)), self.own_bins)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(self.own_bins) - self.own_bins, self.own_bins)
        position = number[:, None] * size + np.arange(size)
        alone = order[self.first[owner][:, None] + position % self.sizes[owner][:, None]]
        bin_index, begin = self.bin_packing
        small = np.flatnonzero(self.own_bins == 0)
        small = small[np.lexsort((rng.random(len(small)), -self.sizes[small]))]
        counts = self.sizes[small]
        step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        together = np.full((self.shared_bins, size), FREE, np.int64)
        together[np.repeat(bin_index, counts), np.repeat(begin, counts) + step] = order[
            np.repeat(self.first[small], counts) + step
        ]
        return np.concatenate([alone, together]), np.concatenate([owner, len(self.sizes) + np.arange(self.shared_bins)])

    def iterate_bins(self, bins_per_batch: np.ndarray, *, epoch: int) -> Iterator[np.ndarray]:
        """The bins of each batch of an epoch, (bins_per_batch[b], K): pass after pass over the set, each in another order.

        Args:
            bins_per_batch: (batches,) int64 >= 1 bins of each batch, no two further apart than one. A pass is spread over
                the batches until its end, so they reach to the end of the pass that the last batch asked for is in.

        Raises:
            ValueError: a batch has more positions than the set has rows.
        """
        most = int(bins_per_batch.max(initial=0)) * self.instances
        if most > len(self.rows):
            raise ValueError(
                f"a batch has {most} places for a set of {len(self.rows)} images, and no image may come twice in it; "
                f"lower micro_batch, or use more data"
            )
        upto = np.cumsum(bins_per_batch)
        passes = [SamplerPass(self, epoch=epoch, number=0)]
        for batch, num_bins in enumerate(bins_per_batch.tolist()):
            ends = int(np.searchsorted(upto, upto[batch] - num_bins + passes[0].total))
            batches_left = ends - batch + 1  # batches until the pass is through
            picked = passes[0].take(num_bins, batches_left=batches_left)
            if len(picked) < num_bins:
                if len(passes) == 1:
                    passes.append(SamplerPass(self, epoch=epoch, number=passes[0].number + 1))
                held = set(self.identity[picked[picked >= 0]].tolist())
                rest = passes[1].take(num_bins - len(picked), batches_left=-(-passes[1].total // num_bins) + 1, held=held)
                picked = np.concatenate([picked, rest])
                for one_pass in passes:  # too few identities for this batch: some come in it with more than one bin
                    picked = np.concatenate([picked, one_pass.take_any(num_bins - len(picked))])
            if passes[0].total == 0:
                passes = passes[1:] or [SamplerPass(self, epoch=epoch, number=passes[0].number + 1)]
            yield picked

    def fill_bins(self, bins: np.ndarray, *, epoch: int, batch: int) -> np.ndarray:
        """The `index` of one batch's rows, flat (bins * K,) int64: all positions filled, no row twice."""
        index = np.array(list(dict.fromkeys(bins[bins >= 0].tolist())), np.int64)
        free = bins.size - len(index)
        if free == 0:
            return index
        rng = np.random.default_rng((self.seed, epoch, FILL_STREAM, batch))
        absent = np.ones(len(self.sizes), bool)
        absent[self.identity[index]] = False
        more = []
        while free:
            want = min(self.instances, free)
            choices = np.flatnonzero(absent & (self.sizes >= want))
            if len(choices) == 0:
                break
            identity = choices[rng.integers(len(choices))]
            picked = rng.choice(self.sizes[identity], want, replace=False)
            more.append(self.members[self.first[identity] + picked])
            absent[identity], free = False, free - want
        index = np.concatenate([index, *more])
        return np.concatenate([index, self._draw_any(free, index, absent, rng)]) if free else index

    def _draw_any(self, count: int, index: np.ndarray, absent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows that a batch lacks, those of absent identities first: the last resort of a small set."""
        rest = np.setdiff1d(np.arange(len(self.rows)), index)
        return rest[np.lexsort((rng.random(len(rest)), ~absent[self.identity[rest]]))][:count]


class SamplerPass:
    """One pass over the bins of a sampler, in an order drawn for it: every bin is taken once."""

    def __init__(self, sampler: PKSampler, *, epoch: int, number: int) -> None:
        rng = np.random.default_rng((sampler.seed, epoch, PASS_STREAM, number))
        self.sampler, self.number = sampler, number
        self._bins, owner = sampler.draw_bins(rng)
        self._bin_counts = np.bincount(owner)
        self._first = np.cumsum(self._bin_counts) - self._bin_counts
        self._remaining = self._bin_counts.copy()
        self._order, self._next = rng.permutation(owner), 0
        self._deferred: list[int] = []  # owners passed over, the next one last
        self.total = len(owner)  # bins not yet taken

    def take(self, count: int, *, batches_left: int, held: Set[int] = frozenset()) -> np.ndarray:
        """Up to `count` bins for one batch, none of an identity in `held`, (n, K).

        Args:
            batches_left: batches, this one included, in which the pass is to end. An owner gets at most
                ceil(its bins / batches_left) of a batch, and at least the floor of it, so that none piles up at the end.
        """
        picked: Counter[int] = Counter()
        for owner in np.flatnonzero(self._remaining >= batches_left).tolist():
            due = min(int(self._remaining[owner]) // batches_left, count - picked.total())
            if due > 0 and not self._shares_identity(owner, held):
                picked[owner] = due
        later = []
        while picked.total() < count and (owner := self._next_owner()) is not None:
            due = -(-int(self._remaining[owner]) // batches_left)
            if picked[owner] < due and not self._shares_identity(owner, held):
                picked[owner] += 1
            elif self._remaining[owner]:
                later.append(owner)
        self._deferred += later[::-1]
        return self._remove_bins(picked)

    def take_any(self, count: int) -> np.ndarray:
        """Up to `count` bins of any owner, (n, K)."""
        picked: Counter[int] = Counter()
        while picked.total() < count and (owner := self._next_owner()) is not None:
            picked[owner] += int(picked[owner] < self._remaining[owner])
        return self._remove_bins(picked)

    def _next_owner(self) -> int | None:
        """The next owner in order, those passed over first; it may have no bins left, when they were due earlier."""
        if self._deferred:
            return self._deferred.pop()
        if self._next == len(self._order):
            return None
        self._next += 1
        return int(self._order[self._next - 1])

    def _shares_identity(self, owner: int, held: Set[int]) -> bool:
        if not held:
            return False
        rows = self._bins[self._first[owner]]
        return not held.isdisjoint(self.sampler.identity[rows[rows >= 0]].tolist())

    def _remove_bins(self, picked: Counter[int]) -> np.ndarray:
        begin = {owner: int(self._first[owner] + self._bin_counts[owner] - self._remaining[owner]) for owner in picked}
        numbers = list(chain.from_iterable(range(begin[owner], begin[owner] + times) for owner, times in picked.items()))
        for owner, times in picked.items():
            self._remaining[owner] -= times
        self.total -= len(numbers)
        return self._bins[numbers]
