"""Windows that cover trials once, in order, without augmentation: what evaluation reads. N windows, numbered over all rows."""

from collections.abc import Sequence

import numpy as np

from tarpon.pipelines.clip.feed import ClipRequest
from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import SPLITS, Manifest, list_cells


def tile(manifest: Manifest | LazyManifest, *, frames: int) -> "Tiles | ShardTiles":
    """The windows of `frames` frames of all trials; the last of a trial may run past its end."""
    if isinstance(manifest, LazyManifest):
        return ShardTiles(manifest, frames=frames)
    return Tiles(manifest, np.arange(len(manifest)), frames=frames)


class Tiles(Sequence):
    """Requests of the windows of some rows, (n,) int64, in their order."""

    def __init__(self, manifest: Manifest, rows: np.ndarray, *, frames: int) -> None:
        counts = -(-np.asarray(manifest.column("frames"), np.int64)[rows] // frames)
        self._rows = np.repeat(np.asarray(rows, np.int64), counts)
        self._starts = frames * (np.arange(len(self._rows)) - np.repeat(np.cumsum(counts) - counts, counts))
        self._manifest = manifest

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> ClipRequest:
        return ClipRequest(row=int(self._rows[number]), start=int(self._starts[number]))

    def of_split(self, split: str) -> np.ndarray:
        """Numbers of a split's windows, ascending, int64."""
        return np.flatnonzero(np.isin(self._rows, self._manifest.rows(split)))


class ShardTiles(Sequence):
    """The same of all rows, counted by what `shards.parquet` tells of trials' lengths and found when one is asked for."""

    def __init__(self, manifest: LazyManifest, *, frames: int) -> None:
        self._manifest, self._frames = manifest, frames
        self._ends = np.cumsum(sum(self._count(split) for split in SPLITS))  # (shards,) one past its last window

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> ClipRequest:
        number = range(len(self))[number]
        shard = int(np.searchsorted(self._ends, number, side="right"))
        inside, ends = number - self._first(shard), np.cumsum(self._windows(shard))
        place = int(np.searchsorted(ends, inside, side="right"))
        before = int(ends[place - 1]) if place else 0
        return ClipRequest(row=self._manifest.first_row(shard) + place, start=self._frames * (inside - before))

    def of_split(self, split: str) -> np.ndarray:
        """As `Tiles.of_split`; reads the shards that hold other splits too."""
        own, rows = self._manifest.split_counts(split), self._manifest.lines["rows"].to_numpy()
        found = [np.zeros(0, np.int64)]
        for shard in np.flatnonzero(own).tolist():
            if own[shard] == rows[shard]:
                found.append(np.arange(self._first(shard), int(self._ends[shard])))
            else:
                inside = np.repeat(self._manifest.split_mask(split, shard), self._windows(shard))
                found.append(self._first(shard) + np.flatnonzero(inside))
        return np.concatenate(found)

    def _first(self, shard: int) -> int:
        return int(self._ends[shard - 1]) if shard else 0

    def _windows(self, shard: int) -> np.ndarray:
        """(rows of the shard,) windows of each trial."""
        return -(-self._manifest.read_shard(shard)["frames"].to_numpy() // self._frames)

    def _count(self, split: str) -> np.ndarray:
        """(shards,) windows of a split's trials in each."""
        lengths, offsets = list_cells(self._manifest.summary(split, "lengths"))
        windows = -(-lengths.astype(np.int64) // self._frames) * list_cells(self._manifest.summary(split, "trials"))[0]
        return np.diff(np.append(0, np.cumsum(windows))[offsets])
