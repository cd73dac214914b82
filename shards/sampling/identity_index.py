"""An index of the identities of a data set, from what each shard's summary counts, and the bins of K images that they make.

An image is known by its place in the order (identity, shard, place in the shard), so that of N images none is held. A unit is
what is shown within one window of shards: an identity, or of one with very many images a stretch of them; it belongs to the
shard of its first image. I identities, E entries (an identity in a shard), S shards, U units, B bins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

UNIT_IMAGES = 1024  # about so many at most; an identity with more is shown a stretch at a time
FREE = -1  # a position of a bin that holds no image


@dataclass(frozen=True, kw_only=True, eq=False)
class IdentityIndex:
    """Entries in the order of (identity, shard), no pair twice, each with one image or more.

    Args:
        identity: (E,) int64 number of each entry's identity. shard: (E,) int64. images: (E,) int64 of it there.
        shards: S.
        members: shard -> (m,) numbers of identities, ascending, and (m,) row ids: the images of that shard, those of an
            identity in the order of their rows.
        instances: K.
    """

    identity: np.ndarray
    shard: np.ndarray
    images: np.ndarray
    shards: int
    members: Callable[[int], tuple[np.ndarray, np.ndarray]]
    instances: int = 4

    def __post_init__(self) -> None:
        if not len(self.identity):
            raise ValueError("no images to train on; look at the split of the data set")
        if self.instances < 1:
            raise ValueError(f"instances={self.instances} must be 1 or more images of an identity in a batch")

    @cached_property
    def ends(self) -> np.ndarray:
        """(E,) int64 one past the last image of each entry."""
        return np.cumsum(self.images)

    def __len__(self) -> int:
        """N"""
        return int(self.ends[-1])

    @cached_property
    def units(self) -> "Units":
        """All units, by their shard."""
        opens = np.diff(self.identity, prepend=-1) != 0  # the first entry of each identity
        first = (self.ends - self.images)[opens]
        counts = np.diff(first, append=len(self))
        pieces = -(-counts // UNIT_IMAGES)
        of = np.repeat(np.arange(len(counts)), pieces)
        piece = np.arange(len(of)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        begin = first[of] + counts[of] * piece // pieces[of]
        end = first[of] + counts[of] * (piece + 1) // pieces[of]
        home = self.shard[self.entries_of(begin)]
        order = np.argsort(home, kind="stable")
        how = {"shards": self.shards, "instances": self.instances}
        return Units(begin=begin[order], images=(end - begin)[order], home=home[order], **how)

    def entries_of(self, images: np.ndarray) -> np.ndarray:
        """The entry of each image."""
        return np.searchsorted(self.ends, images, side="right")

    def identities_of(self, images: np.ndarray) -> np.ndarray:
        """The identity of each image."""
        return self.identity[self.entries_of(images)]

    def rows_of(self, images: np.ndarray) -> np.ndarray:
        """(n,) int64 row ids of images; reads the shards that they lie in."""
        entries = self.entries_of(images)
        inside = images - (self.ends - self.images)[entries]
        rows = np.zeros(len(images), np.int64)
        for shard in np.unique(self.shard[entries]).tolist():
            own = np.flatnonzero(self.shard[entries] == shard)
            identities, found = self.members(shard)
            rows[own] = found[np.searchsorted(identities, self.identity[entries[own]]) + inside[own]]
        return rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Units:
    """U units in the order of their shards, and the bins that they fill.

    A unit with K images or more fills bins of its own, the last topped up with others of its own; units with fewer share bins
    with units of as many images in their shard, so that the bins of a shard are known from its counts.
    """

    begin: np.ndarray  # (U,) int64 first image
    images: np.ndarray  # (U,) int64
    home: np.ndarray  # (U,) int64 shard, non-decreasing
    shards: int  # S
    instances: int  # K

    @cached_property
    def ends(self) -> np.ndarray:
        """(S,) int64 one past the last unit of each shard."""
        return np.cumsum(np.bincount(self.home, minlength=self.shards))

    @cached_property
    def bins(self) -> np.ndarray:
        """(S,) int64 bins of each shard."""
        size = self.instances
        own = np.where(self.images >= size, -(-self.images // size), 0)
        total = np.bincount(self.home, weights=own, minlength=self.shards).astype(np.int64)
        for small in range(1, size):
            counts = np.bincount(self.home[self.images == small], minlength=self.shards)
            total += -(-counts // (size // small))
        return total

    def of_shards(self, shards: np.ndarray) -> np.ndarray:
        """Numbers of the units of some shards."""
        return np.concatenate([np.arange(self.ends[shard - 1] if shard else 0, self.ends[shard]) for shard in shards.tolist()])

    def draw_bins(self, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B, K) int64 images or FREE: the bins of whole shards' units in a random order in which those of a unit lie apart."""
        large = self.images[units] >= self.instances
        alone, keys = self._draw_own(units[large], rng)
        together = self._draw_shared(units[~large], rng)
        keys = np.concatenate([keys, rng.random(len(together))])
        return np.concatenate([alone, together])[np.argsort(keys, kind="stable")]

    def _draw_own(self, units: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Bins of units that have K images or more, and when each comes, in [0, 1)."""
        images = self.images[units]
        shuffled, first = self._shuffle(units, rng)
        bins = -(-images // self.instances)
        owner = np.repeat(np.arange(len(units)), bins)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(bins) - bins, bins)
        position = number[:, None] * self.instances + np.arange(self.instances)
        made = shuffled[first[owner][:, None] + position % images[owner][:, None]]
        return made, (number + rng.random(len(owner)) / 2) / bins[owner]  # half a stride between two of a unit at least

    def _draw_shared(self, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Bins of units that have fewer."""
        units = units[np.lexsort((rng.random(len(units)), self.images[units], self.home[units]))]
        images, size = self.images[units], self.instances
        opens = np.flatnonzero(np.diff(self.home[units] * size + images, prepend=-1))  # of a shard and a number of images
        lengths = np.diff(opens, append=len(units))
        rank = np.arange(len(units)) - np.repeat(opens, lengths)
        fit = size // np.maximum(images, 1)  # units in a bin
        needed = -(-lengths // fit[opens])
        bin_index = np.repeat(np.cumsum(needed) - needed, lengths) + rank // fit
        made = np.full((int(needed.sum()), size), FREE, np.int64)
        shuffled, _ = self._shuffle(units, rng)
        step = np.arange(len(shuffled)) - np.repeat(np.cumsum(images) - images, images)
        made[np.repeat(bin_index, images), np.repeat(rank % fit * images, images) + step] = shuffled
        return made

    def _shuffle(self, units: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The images of units, unit after unit, each unit's in random order; and where those of each begin."""
        images = self.images[units]
        first = np.cumsum(images) - images
        owner = np.repeat(np.arange(len(units)), images)
        found = self.begin[units][owner] + np.arange(len(owner)) - first[owner]
        return found[np.lexsort((rng.random(len(owner)), owner))], first
