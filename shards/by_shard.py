"""Columns that no process holds whole: made of the rows of a shard when one of them is asked for, kept for a few shards."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tarpon.shards.lazy_manifest import HELD, LazyManifest
from tarpon.shards.manifest import Manifest

Arrays = tuple[np.ndarray, ...]  # of one shard, a line a row


@dataclass(frozen=True, kw_only=True, eq=False)
class ByShard:
    """Arrays by row, of which those of `held` shards are kept. Safe to share between threads.

    What works on a whole `Manifest` makes them: it is given one of a shard's rows, and the number of the first of these.
    """

    manifest: LazyManifest
    make: Callable[[Manifest, int], Arrays]  # (rows of a shard, row id of the first) -> arrays with a line a row
    columns: Sequence[str] = ()  # to read anew for each shard; (): those that the manifest keeps
    held: int = HELD
    _held: OrderedDict[int, Arrays] = field(default_factory=OrderedDict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def of(self, shard: int) -> Arrays:
        """Of all rows of a shard, by its place in `manifest.tars`."""
        with self._lock:
            if shard in self._held:
                self._held.move_to_end(shard)
                return self._held[shard]
        made = self.make(self._rows(shard), self.manifest.first_row(shard))
        with self._lock:
            self._held[shard] = made
            while len(self._held) > self.held:
                self._held.popitem(last=False)
        return made

    def at(self, row: int) -> tuple:
        """Of one row."""
        shard, place = self.manifest.locate(row)
        return tuple(array[place] for array in self.of(shard))

    def take(self, rows: np.ndarray) -> Arrays:
        """Of (n,) rows, one or more, in their order."""
        shards = self.manifest.tar_numbers(rows)
        order = np.argsort(shards, kind="stable")
        begins = np.flatnonzero(np.diff(shards[order], prepend=-1))
        found = []
        for places in np.split(order, begins[1:]):
            shard = int(shards[places[0]])
            inside = rows[places] - self.manifest.first_row(shard)
            found.append([array[inside] for array in self.of(shard)])
        back = np.argsort(order)
        return tuple(np.concatenate(parts)[back] for parts in zip(*found, strict=True))

    def _rows(self, shard: int) -> Manifest:
        table: pa.Table
        if self.columns:
            file = self.manifest.open_rows(shard)
            table = file.read([name for name in self.columns if name in file.schema_arrow.names])
        else:
            table = self.manifest.read_shard(shard)
        return Manifest(root=self.manifest.root, card=self.manifest.card, table=table)
