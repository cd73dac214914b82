"""What the feed of pages asks of every row, of a set that no process holds whole: shard by shard, by what a whole set is asked.

A stack lies in one shard: packing never cuts it. W pages of a window, C channels of a page.
"""

from collections.abc import Callable

import numpy as np

from tarpon.pipelines.page.feed import find_neighbours, select_levels
from tarpon.shards.by_shard import ByShard
from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import Manifest
from tarpon.shards.page_planes import count_channels

Neighbours = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # (B,) rows -> read (B, W), present (B, W)


def make_neighbours(manifest: Manifest | LazyManifest, *, window: int) -> Neighbours:
    """A function of rows that gives their lines of `find_neighbours`; a row below 0 counts from the end, as in an array."""
    if isinstance(manifest, LazyManifest):
        by_shard = ByShard(manifest=manifest, make=lambda held, first: _number(*_find(held, window), first=first))
        return lambda rows: by_shard.take(rows % len(manifest))
    read, present = _find(manifest, window)
    return lambda rows: (read[rows], present[rows])


def _find(manifest: Manifest, window: int) -> tuple[np.ndarray, np.ndarray]:
    return find_neighbours(np.array(manifest.column("stack")), np.asarray(manifest.column("page")), window=window)


def _number(read: np.ndarray, present: np.ndarray, *, first: int) -> tuple[np.ndarray, np.ndarray]:
    return read + first, present


class StoredLevels:
    """levels[row] as of an array of `select_levels`: a number, of several channels (C,)."""

    def __init__(self, by_shard: ByShard, side: int) -> None:
        self._by_shard, self._side = by_shard, side
        channels = count_channels(by_shard.manifest.card)
        self.shape = (len(by_shard.manifest), channels) if channels > 1 else (len(by_shard.manifest),)
        self.ndim = len(self.shape)

    def __getitem__(self, row: int) -> np.ndarray:
        return self._by_shard.at(row)[self._side]


def make_levels(
    manifest: Manifest | LazyManifest, contrast: str
) -> tuple[np.ndarray, np.ndarray] | tuple[StoredLevels, StoredLevels]:
    """`select_levels` of a whole set, or the same row by row of one that is not held."""
    if not isinstance(manifest, LazyManifest):
        return select_levels(manifest, contrast)
    by_shard = ByShard(manifest=manifest, make=lambda held, _first: select_levels(held, contrast))
    return StoredLevels(by_shard, 0), StoredLevels(by_shard, 1)
