"""The manifest of a packed data set: one Parquet row a sample, and the data set's card beside it.

Written last, so that its existence means the data set is complete. Held as an Arrow table, without a Python object per row.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tarpon.shards import atomic
from tarpon.shards.schema import VERSION

MANIFEST, CARD = "manifest.parquet", "dataset.json"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """A packed data set, opened."""

    root: str  # folder or fsspec URL that holds the tars
    card: dict
    table: pa.Table

    def __len__(self) -> int:
        return self.table.num_rows

    def rows(self, split: str) -> np.ndarray:
        """Row ids of a split, ascending, (n,) int64; ValueError for an unknown split."""
        if split not in SPLITS:
            raise ValueError(f"split {split!r} must be one of {', '.join(SPLITS)}")
        return np.flatnonzero(pc.equal(self.table["split"], split).to_numpy(zero_copy_only=False))

    def value(self, row: int, column: str) -> object:
        """One cell as a Python object."""
        return self.table[column][int(row)].as_py()

    def column(self, name: str) -> np.ndarray:
        """A column as (N,) array."""
        return self.table[name].to_numpy(zero_copy_only=False)

    def lists(self, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A list column of some rows as (values, offsets): row i holds values[offsets[i]:offsets[i + 1]]."""
        taken = self.table[name].take(pa.array(rows)).combine_chunks()
        if isinstance(taken, pa.ChunkedArray):
            taken = pa.concat_arrays(taken.chunks) if taken.num_chunks else pa.array([], taken.type)
        lengths = pc.list_value_length(taken).fill_null(0).to_numpy(zero_copy_only=False)
        return taken.flatten().to_numpy(zero_copy_only=False), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def fingerprint(self) -> str:
        """Hash of the rows (keys, labels, offsets, checksums, splits): a resumed run must have the same one."""
        digest = hashlib.sha256()
        for name in sorted(self.table.column_names):
            digest.update("\0".join(map(str, self.table[name].to_pylist())).encode())
        return digest.hexdigest()


def write_manifest(root: Path, table: pa.Table, card: dict) -> None:
    """Write the card, then the manifest, each atomically."""
    atomic.write_text(root / CARD, json.dumps(card, indent=2) + "\n")
    with atomic.replace(root / MANIFEST) as draft:
        pq.write_table(table, draft)


def open_manifest(root: str | Path, *, kind: str | None = None) -> Manifest:
    """Open a packed data set.

    Args:
        root: folder or fsspec URL.
        kind: what the card must say; None: any kind.

    Raises:
        ValueError: in one line, when it is missing, unfinished, unreadable, or of another kind or version.
    """
    root = str(root).rstrip("/")
    files, _, _ = fsspec.get_fs_token_paths(root)
    inside = root.partition("://")[2] or root
    if not files.exists(f"{inside}/{MANIFEST}"):
        begun = files.exists(f"{inside}/parts")
        raise ValueError(
            f"{root}: no {MANIFEST} here; "
            + (
                "packing did not finish: run the same `tarpon pack` again"
                if begun
                else "give the folder that `tarpon pack ... --out` wrote"
            )
        )
    try:
        with files.open(f"{inside}/{CARD}") as file:
            card = json.load(file)
    except FileNotFoundError as error:
        raise ValueError(f"{root}: no {CARD} beside the manifest; copy it there, or pack again") from error
    except ValueError as error:
        raise ValueError(f"{root}/{CARD}: not valid JSON ({error}); pack again") from error
    if card.get("schema_version") != VERSION:
        raise ValueError(f"{root}: schema version {card.get('schema_version')}, this Tarpon reads {VERSION}; pack again")
    if kind is not None and card.get("kind") != kind:
        raise ValueError(f"{root}: holds {card.get('kind')} data, {kind} is needed; give other shards")
    try:
        if "://" not in root:
            return Manifest(root=root, card=card, table=pq.read_table(f"{root}/{MANIFEST}"))
        with files.open(f"{inside}/{MANIFEST}") as file:
            # read ahead, Arrow's threads may free a Python buffer while the interpreter ends: an abort after all work was done
            return Manifest(root=root, card=card, table=pq.read_table(file, pre_buffer=False))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{root}/{MANIFEST}: not readable ({error}); pack again") from error
