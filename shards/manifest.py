"""The manifest: one Parquet row a sample, and the data set's card beside it.

Written last, so that its existence means the set is whole. Held as an Arrow table: no Python object a row.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tarpon.shards.arrow_input import open_bytes
from tarpon.shards.fingerprint import hash_cells
from tarpon.shards.schema import VERSION
from tarpon.shards.store import NotThere, Store
from tarpon.shards.tar_cache import Cache, TarSum

MANIFEST, CARD = "manifest.parquet", "dataset.json"
# entries of the card: of the manifest's file, of its cells (the fingerprint of runs), of the card's other entries
CHECKSUMS = MANIFEST_SUM, ROWS_SUM, CARD_SUM = "manifest_sha256", "rows_sha256", "card_sha256"
NEEDED = ("key", "shard", "group", "split")  # columns that every kind has and everything reads
TAR_SUMS = b"tars"  # entry of the table's metadata: JSON, tar -> [bytes, SHA-256]
TAR_END = 2 * 10240  # bytes at most behind the last sample of a tar: padding, and blocks of zeros
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """A packed data set, opened."""

    root: str  # folder or fsspec URL that holds the tars
    card: dict
    table: pa.Table
    store: Store | None = None  # of the root; None: of a listing without tars
    cache: Cache | None = None  # where tars of a remote root are kept on this machine

    @property
    def identity(self) -> str:
        """Another where another data set was packed to the same place."""
        return str(self.card.get(MANIFEST_SUM, ""))

    def tar_sums(self) -> dict[str, TarSum]:
        """Size and checksum of every tar; of data packed by an earlier version, the size that its samples need."""
        try:
            told = json.loads((self.table.schema.metadata or {}).get(TAR_SUMS, b"{}"))
            found = {name: TarSum(size=int(size), sha256=str(digest)) for name, (size, digest) in told.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.root}/{MANIFEST}: its list of tars is not readable ({error}); copy it again") from error
        lacking = [name for name in self.table["shard"].unique().to_pylist() if name not in found]
        if lacking:
            ends = [
                pc.add(self.table[column], self.table[f"{column.removesuffix('_offset')}_size"])
                for column in self.table.column_names
                if column.endswith("_offset") and f"{column.removesuffix('_offset')}_size" in self.table.column_names
            ]
            table = pa.table({"shard": self.table["shard"], "end": pc.max_element_wise(*ends)})
            last = table.group_by("shard").aggregate([("end", "max")]).to_pydict()
            size_of = dict(zip(last["shard"], last["end_max"], strict=True))
            found |= {name: TarSum(size=size_of[name] + TAR_END) for name in lacking}
        return found

    @property
    def remark(self) -> str | None:
        """What a user should know of the data set; None: nothing."""
        if MANIFEST_SUM in self.card:
            return None
        return f"{self.root} has no checksum of its manifest (packed by an earlier Tarpon); tarpon lint proves it"

    def __len__(self) -> int:
        return self.table.num_rows

    def rows(self, split: str) -> np.ndarray:
        """Row ids of a split, ascending, int64."""
        if split not in SPLITS:
            raise ValueError(f"split {split!r} must be one of {', '.join(SPLITS)}")
        return np.flatnonzero(pc.equal(self._column("split"), split).to_numpy(zero_copy_only=False))

    def split_size(self, split: str) -> int:
        """Number of rows of a split."""
        return len(self.rows(split))

    def value(self, row: int, column: str) -> object:
        return self._column(column)[int(row)].as_py()

    def column(self, name: str) -> np.ndarray:
        return self._column(name).to_numpy(zero_copy_only=False)

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self.table.column_names:
            raise ValueError(f"{self.root}/{MANIFEST}: no column {name}; copy the file again, or pack again")
        return self.table[name]

    def lists(self, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A list column of some rows as (values, offsets): row i holds values[offsets[i]:offsets[i + 1]]."""
        return list_cells(self._column(name).take(pa.array(rows)))

    def count_groups(self) -> int:
        return pc.count_distinct(self._column("group")).as_py()

    def sum_lists(self, name: str, split: str, *, length: int) -> np.ndarray:
        """A column of lists of `length` numbers added up over a split, place by place: (length,) int64."""
        return self.lists(name, self.rows(split))[0].reshape(-1, length).sum(0, dtype=np.int64)

    def count_kinds(self, *columns: str) -> list[tuple]:
        """Every combination of values of some columns with its number of rows, in the order they first come."""
        table = pa.table([self._column(name) for name in columns], names=list(columns))
        found = table.group_by(list(columns), use_threads=False).aggregate([([], "count_all")]).to_pydict()
        return list(zip(*found.values(), strict=True))

    @cached_property
    def _tars(self) -> tuple[list[str], np.ndarray]:
        coded = pc.dictionary_encode(self._column("shard").combine_chunks())
        return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)

    @property
    def tars(self) -> list[str]:
        """Names of all tars, in the order that their rows come."""
        return self._tars[0]

    def tar_numbers(self, rows: np.ndarray) -> np.ndarray:
        """Place of each row's tar in `tars`, (n,)."""
        return self._tars[1][rows]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of every cell of the manifest, which a resumed run must find again; the card's, else computed."""
        if MANIFEST_SUM in self.card and ROWS_SUM in self.card:
            return str(self.card[ROWS_SUM])
        return hash_cells(self.table)


def list_cells(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Lists as (values, offsets): list i holds values[offsets[i]:offsets[i + 1]]."""
    taken = column.combine_chunks()
    if isinstance(taken, pa.ChunkedArray):
        taken = pa.concat_arrays(taken.chunks) if taken.num_chunks else pa.array([], taken.type)
    lengths = pc.list_value_length(taken).fill_null(0).to_numpy(zero_copy_only=False)
    return taken.flatten().to_numpy(zero_copy_only=False), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def write_manifest(root: str | Path, table: pa.Table, card: dict, *, rows_sum: str | None = None) -> None:
    """The card, with checksums of the manifest and of itself, first, the manifest last; both by rename.

    Args:
        rows_sum: `hash_cells` of the table, where it is known.
    """
    store = Store(root)
    with store.replace(MANIFEST) as draft:
        pq.write_table(table, draft)
        told = {name: value for name, value in card.items() if name not in CHECKSUMS}
        told |= {MANIFEST_SUM: hashlib.sha256(draft.read_bytes()).hexdigest(), ROWS_SUM: rows_sum or hash_cells(table)}
        write_card(store, told)


def write_card(store: Store, card: dict) -> None:
    """The card with a checksum of its other entries."""
    told = json.loads(json.dumps({name: value for name, value in card.items() if name != CARD_SUM}))
    store.write(CARD, (json.dumps({**told, CARD_SUM: _sum_of(told)}, indent=2) + "\n").encode())


def _sum_of(card: dict) -> str:
    """Of every entry of a card but its own checksum."""
    held = {name: value for name, value in card.items() if name != CARD_SUM}
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()


def open_manifest(
    root: str | Path, *, kind: str | None = None, cache: Cache | None = None, retry_s: float | None = None
) -> Manifest:
    """Open a packed data set; ValueError in one line when it is missing, unfinished, damaged, of another kind or version.

    The manifest and the card are those that were packed, by their checksums; data of earlier versions have none (`remark`).

    Args:
        root: a folder or a URL.
        cache: where tars of a URL are kept.
        retry_s: seconds after which a store that does not answer is given up; None: five minutes.

    Raises:
        StoreError: it does not answer.
    """
    store = Store(root, retry_s=retry_s)
    root = store.root
    content, card = _read_both(store, kind=kind)
    if MANIFEST_SUM in card and hashlib.sha256(content).hexdigest() != card[MANIFEST_SUM]:
        raise ValueError(f"{root}/{MANIFEST}: checksum differs from {CARD}; copy both files again, or pack again")
    try:
        table = pq.read_table(open_bytes(content))
        table.validate(full=True)  # text that is no text, offsets beyond their column
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{root}/{MANIFEST}: not readable ({' '.join(str(error).split())[:300]}); pack again") from error
    if missing := [name for name in NEEDED if name not in table.column_names]:
        raise ValueError(f"{root}/{MANIFEST}: no column {', '.join(missing)}; copy the file again, or pack again")
    for name in NEEDED:
        if table.schema.field(name).type != pa.string() or table[name].null_count:
            raise ValueError(f"{root}/{MANIFEST}: column {name} is not text in every row; copy the file again, or pack again")
    if outside := [name for name in table["shard"].unique().to_pylist() if "/" in name or "\\" in name]:
        raise ValueError(f"{root}/{MANIFEST}: shard {outside[0]!r:.80} is not a file of this folder; pack again")
    return Manifest(root=root, card=card, table=table, store=store, cache=cache)


def _read_both(store: Store, *, kind: str | None) -> tuple[bytes, dict]:
    """The manifest's bytes and the checked card; ValueError where one is missing."""
    try:
        content = store.read(MANIFEST)
    except NotThere as error:
        begun = "parts" in (store.list_names() or ())
        raise ValueError(
            f"{store.root}: no {MANIFEST} here; "
            + (
                "packing did not finish: run the same `tarpon pack` again"
                if begun
                else "give the folder that `tarpon pack ... --out` wrote"
            )
        ) from error
    return content, read_card(store, kind=kind)


def read_card(store: Store, *, kind: str | None) -> dict:
    """The checked card; ValueError where there is none, or it is of another kind than is needed."""
    try:
        card = _checked_card(store.read(CARD), root=store.root)
    except NotThere as error:
        raise ValueError(f"{store.root}: no {CARD} beside the manifest; copy it there, or pack again") from error
    if kind is not None and card.get("kind") != kind:
        raise ValueError(f"{store.root}: holds {card.get('kind')} data, {kind} is needed; give other shards")
    return card


def _checked_card(content: bytes, *, root: str) -> dict:
    """The card; ValueError where it is not one that this version wrote and reads, as it was written."""
    try:
        card = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{root}/{CARD}: not valid JSON ({error}); pack again") from error
    if not isinstance(card, dict):
        raise ValueError(f"{root}/{CARD}: holds a {type(card).__name__}, not an object; copy the file again, or pack again")
    if card.get("schema_version") != VERSION:
        raise ValueError(f"{root}: schema version {card.get('schema_version')}, this Tarpon reads {VERSION}; pack again")
    if CARD_SUM in card and card[CARD_SUM] != _sum_of(card):
        raise ValueError(f"{root}/{CARD}: checksum of the card differs; copy the file again, or pack again")
    return card
