"""A packed data set opened by its shards: of `shards.parquet` a line a shard is held, the rows of a shard are read when one of
them is asked for.

It has what a training asks of a `Manifest`, but for whole columns. S shards.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tarpon.shards.arrow_input import open_bytes
from tarpon.shards.manifest import CARD, MANIFEST_SUM, ROWS_SUM, SPLITS, list_cells, read_card
from tarpon.shards.schema import HASHES
from tarpon.shards.shard_table import BY_SHARD, COLUMNS, KINDS, OF_ROWS, SHARDS, SHARDS_SUM, rows_file
from tarpon.shards.store import NotThere, Store
from tarpon.shards.tar_cache import Cache, TarSum

HELD = 20  # shards whose rows are kept: two windows of a plan and some to spare
COLD = ("source", "source_sha256", *(name for name, _ in HASHES))  # columns that no training reads: they are not kept


@dataclass(frozen=True, kw_only=True, eq=False)
class LazyManifest:
    """Safe to share between threads."""

    root: str  # folder or fsspec URL that holds the tars
    card: dict
    lines: pa.Table  # of shards.parquet: COLUMNS
    content: bytes = field(repr=False)  # of shards.parquet, packed: what it tells of each split is read when it is asked for
    store: Store
    cache: Cache | None = None  # where tars of a remote root are kept on this machine
    held: int = HELD
    remark: None = None  # its card has all checksums
    _held: OrderedDict[int, pa.Table] = field(default_factory=OrderedDict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def identity(self) -> str:
        """As of the `Manifest` of the same set: both share the cache of tars."""
        return str(self.card.get(MANIFEST_SUM) or self.card[BY_SHARD][SHARDS_SUM])

    @cached_property
    def ends(self) -> np.ndarray:
        """(S,) int64 one past the last row of each shard."""
        return np.cumsum(self.lines["rows"].to_numpy())

    @property
    def tars(self) -> list[str]:
        """Names of all tars, in the order that their rows come."""
        return self.lines["shard"].to_pylist()

    def __len__(self) -> int:
        return int(self.ends[-1])

    def tar_numbers(self, rows: np.ndarray) -> np.ndarray:
        """Place of each row's shard in `tars`, (n,) int64."""
        return np.searchsorted(self.ends, rows, side="right")

    def first_row(self, shard: int) -> int:
        return int(self.ends[shard - 1]) if shard else 0

    def read_shard(self, shard: int) -> pa.Table:
        """The rows of a shard, by its place in `tars`, without the columns in COLD; kept for the next time.

        Raises:
            ValueError: the file of its rows is not there, or not the one that was packed.
        """
        with self._lock:
            if shard in self._held:
                self._held.move_to_end(shard)
                return self._held[shard]
        file = self.open_rows(shard)
        table = file.read([name for name in file.schema_arrow.names if name not in COLD], use_threads=False)
        with self._lock:
            self._held[shard] = table
            while len(self._held) > self.held:
                self._held.popitem(last=False)
        return table

    def open_rows(self, shard: int) -> pq.ParquetFile:
        """The file of a shard's rows; ValueError as of `read_shard`."""
        name = rows_file(self.lines["shard"][shard].as_py())
        try:
            content = self.store.read(name)
        except NotThere as error:
            raise ValueError(f"{self.root}/{name}: no such file; copy it there, or make it with `tarpon upgrade`") from error
        if hashlib.sha256(content).digest() != self.lines["rows_sha256"][shard].as_py():
            raise ValueError(f"{self.root}/{name}: checksum differs from {SHARDS}; copy it again, or `tarpon upgrade` the set")
        return pq.ParquetFile(open_bytes(content))

    def value(self, row: int, column: str) -> object:
        shard, place = self.locate(row)
        return self._column(shard, column)[place].as_py()

    def lists(self, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Manifest.lists`."""
        if not len(rows):
            return np.zeros(0, np.int64), np.zeros(1, np.int64)
        places = [self.locate(int(row)) for row in rows]
        cells = [self._column(shard, name).slice(place, 1) for shard, place in places]
        return list_cells(pa.chunked_array([chunk for cell in cells for chunk in cell.chunks], cells[0].type))

    def split_size(self, split: str) -> int:
        """Number of rows of a split."""
        return int(self.split_counts(split).sum())

    def split_counts(self, split: str) -> np.ndarray:
        """(S,) int64 rows of a split in each shard."""
        if split not in SPLITS:
            raise ValueError(f"split {split!r} must be one of {', '.join(SPLITS)}")
        return self.lines[split].to_numpy()

    def split_rows(self, split: str, shard: int) -> np.ndarray:
        """Rows of a split in one shard, ascending, int64; its file is read only where it holds other splits too."""
        first, count, whole = self.first_row(shard), self.lines[split][shard].as_py(), self.lines["rows"][shard].as_py()
        if count == whole:
            return first + np.arange(count)
        return first + np.flatnonzero(self.split_mask(split, shard)) if count else np.zeros(0, np.int64)

    def split_mask(self, split: str, shard: int) -> np.ndarray:
        """(rows of the shard,) bool: which are of the split."""
        return np.array([name == split for name in self._column(shard, "split").to_pylist()], bool)

    def rows(self, split: str) -> "ChosenRows":
        """Row ids of a split, ascending, each found when it is asked for."""
        return ChosenRows(self.split_counts(split), partial(self.split_rows, split))

    def summary(self, split: str, name: str) -> pa.ChunkedArray:
        """(S,) what `shards.parquet` tells of each shard's rows of a split; null where it has none."""
        return pa.chunked_array([run[name] for run in self.summary_runs(split, (name,), shards=max(len(self.lines), 1))])

    def summary_runs(self, split: str, names: Sequence[str], *, shards: int) -> Iterator[pa.RecordBatch]:
        """As `summary`, of several columns, for so many shards after another: what all tell at once may be a lot."""
        file, columns = self._open_lines(), [f"{split}_{name}" for name in names]
        if missing := [column for column in columns if column not in file.schema_arrow.names]:
            raise ValueError(f"{self.root}/{SHARDS}: no column {missing[0]}; write it again with `tarpon upgrade {self.root}`")
        for run in file.iter_batches(shards, columns=columns, use_threads=False):
            yield run.select(columns).rename_columns(list(names))

    def read_lines(self) -> pa.Table:
        """All columns of `shards.parquet`."""
        return self._open_lines().read(use_threads=False)

    def _open_lines(self) -> pq.ParquetFile:
        return pq.ParquetFile(open_bytes(self.content))

    def sum_lists(self, name: str, split: str, *, length: int) -> np.ndarray:
        """As `Manifest.sum_lists`."""
        return list_cells(self.summary(split, name))[0].reshape(-1, length).sum(0, dtype=np.int64)

    def count_kinds(self, *columns: str) -> list[tuple]:
        """As `Manifest.count_kinds`, of columns that the card counts; ValueError of others."""
        kinds = self.card[BY_SHARD].get(KINDS, {"columns": [], "counts": []})
        if missing := sorted(set(columns) - set(kinds["columns"])):
            raise ValueError(f"{self.root}: its card does not count {missing[0]}; `tarpon upgrade {self.root}` counts anew")
        places, found = [kinds["columns"].index(name) for name in columns], {}
        for *values, count in kinds["counts"]:
            kind = tuple(values[place] for place in places)
            found[kind] = found.get(kind, 0) + count
        return [(*kind, count) for kind, count in found.items()]

    def count_groups(self) -> int:
        return self.card["split"]["groups"]

    def fingerprint(self) -> str:
        """That of the `Manifest` of the same set."""
        return str(self.card[BY_SHARD][OF_ROWS])

    def tar_sums(self) -> dict[str, TarSum]:
        """As `Manifest.tar_sums`."""
        columns = (self.lines[name].to_pylist() for name in ("shard", "bytes", "sha256"))
        known = zip(*columns, strict=True)
        return {name: TarSum(size=size, sha256=digest.hex() if digest else "") for name, size, digest in known}

    def locate(self, row: int) -> tuple[int, int]:
        """A row's shard and its place in it; IndexError beyond the end."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} is not among the {len(self)} rows of {self.root}")
        shard = int(np.searchsorted(self.ends, row, side="right"))
        return shard, int(row) - self.first_row(shard)

    def _column(self, shard: int, name: str) -> pa.ChunkedArray:
        rows = self.open_rows(shard).read([name]) if name in COLD else self.read_shard(shard)
        if name not in rows.column_names:
            raise ValueError(f"{self.root}: no column {name}; pack again")
        return rows[name]


class ChosenRows(Sequence):
    """Row ids that are chosen shard by shard, ascending, as a sequence of which none is held.

    Args:
        counts: (S,) int64 rows chosen in each shard. rows_of: shard -> (counts[shard],) int64 row ids.
    """

    def __init__(self, counts: np.ndarray, rows_of: Callable[[int], np.ndarray]) -> None:
        self.counts, self.rows_of = counts, rows_of
        self._ends = np.cumsum(counts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, place: int) -> int:
        place = range(len(self))[place]
        shard = int(np.searchsorted(self._ends, place, side="right"))
        return int(self.rows_of(shard)[place - (self._ends[shard - 1] if shard else 0)])

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        """All of them, 8 bytes each."""
        found = [self.rows_of(shard) for shard in np.flatnonzero(self.counts).tolist()]
        return np.concatenate([np.zeros(0, np.int64), *found]).astype(dtype or np.int64, copy=False)


def open_lazily(
    root: str | Path, *, kind: str | None = None, cache: Cache | None = None, retry_s: float | None = None
) -> LazyManifest:
    """Open a packed data set by its shards; arguments and errors as of `open_manifest`.

    Raises:
        ValueError: also where the set has no `shards.parquet`, or not the one that its card speaks of.
    """
    store = Store(root, retry_s=retry_s)
    try:
        card = read_card(store, kind=kind)
        content = store.read(SHARDS)
    except NotThere as error:
        raise ValueError(f"{store.root}: no {SHARDS} here; `tarpon upgrade {store.root}` writes it") from error
    told = card.get(BY_SHARD)
    told = told if isinstance(told, dict) and OF_ROWS in told else {}
    if ROWS_SUM in card and told and card[ROWS_SUM] != told[OF_ROWS]:
        raise ValueError(f"{store.root}/{SHARDS}: is of another manifest; `tarpon upgrade {store.root}` writes it anew")
    if hashlib.sha256(content).hexdigest() != told.get(SHARDS_SUM):
        raise ValueError(f"{store.root}/{SHARDS}: checksum differs from {CARD}; copy both again, or `tarpon upgrade` the set")
    file = pq.ParquetFile(open_bytes(content))
    types = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
    if missing := [name for name, kind in COLUMNS if types.get(name) != kind]:
        raise ValueError(f"{store.root}/{SHARDS}: no column {', '.join(missing)}; `tarpon upgrade {store.root}` writes it anew")
    lines = file.read([name for name, _ in COLUMNS], use_threads=False)
    return LazyManifest(root=store.root, card=card, lines=lines, content=content, store=store, cache=cache)
