"""A cache of feature vectors on disk: one Arrow file that is mapped, not read, the labels of its rows, and a card.

`features.arrow` holds one record batch, so that its (N, D) block lies in one piece; `labels.parquet` the rows' labels in the
same order; `features.json`, the card, is written last: its existence says that the cache is whole. Until then chunks of a
fixed run of rows lie in `parts/`, each whole or absent, so that a killed extraction goes on with any number of processes.

N rows, D numbers of a vector.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tarpon.shards import atomic, feature_checksums
from tarpon.shards.feature_checksums import AGAIN, CHECKSUMS
from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.npy import read_npy

FEATURES, LABELS, CARD, PARTS = "features.arrow", "labels.parquet", "features.json", "parts"
VERSION = 1  # of the layout on disk; a reader refuses any other
CHUNK_ROWS = 2048  # rows between two renames: a kill loses at most a few seconds of a GPU's work
DTYPES = {"fp16": pa.float16(), "fp32": pa.float32()}
RECORDED = ("versions", CHECKSUMS)  # entries of a card that are not compared: a new library release must not void a cache


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureTable:
    """A finished cache, opened."""

    root: str
    features: np.ndarray  # (N, D) float16 or float32, a read-only view of the mapped file
    rows: np.ndarray  # (N,) int64 row of the manifest that each vector belongs to
    labels: pa.Table  # N rows: the manifest's columns but for places in tars
    card: dict

    def __len__(self) -> int:
        return len(self.features)

    @property
    def remark(self) -> str | None:
        """What a user should know of the cache; None: nothing."""
        if CHECKSUMS in self.card:
            return None
        return f"{self.root} has no checksums (made by an earlier Tarpon): damage is not noticed; extract again to have them"

    def split(self, name: str) -> np.ndarray:
        """Places 0..N-1 of a split's rows in this table, ascending, int64."""
        if name not in SPLITS:
            raise ValueError(f"split {name!r} must be one of {', '.join(SPLITS)}")
        return np.flatnonzero(pc.equal(self.labels["split"], name).to_numpy(zero_copy_only=False))

    def codes(self, column: str, classes: Sequence[str]) -> np.ndarray:
        """A text column as (N,) int64 places in `classes`; -1 where it is missing or not among them."""
        found = pc.index_in(self.labels[column], value_set=pa.array(classes, pa.string()))
        return found.fill_null(-1).to_numpy().astype(np.int64)

    def numbers(self, column: str) -> np.ndarray:
        """A number column as (N,) float32, NaN where it is missing."""
        return self.labels[column].cast(pa.float32()).fill_null(np.nan).to_numpy()

    def flags(self, column: str, width: int) -> np.ndarray:
        """A column of lists of `width` zeros and ones as (N, width) int8, all -1 where the list is missing."""
        lists = self.labels[column].combine_chunks()
        known = lists.is_valid().to_numpy(zero_copy_only=False)
        values = lists.drop_null().flatten().to_numpy(zero_copy_only=False)
        if len(values) != known.sum() * width:
            raise ValueError(f"{self.root}: {column} must hold {width} values a row, or none at all")
        out = np.full((len(known), width), -1, np.int8)
        out[known] = values.reshape(-1, width)
        return out

    def fingerprint(self) -> str:
        """Hash of what the vectors and labels are: a resumed run must meet the same ones."""
        held = self.card.get(CHECKSUMS)
        bytes_of = {name: held[name] for name in ("chunks", "labels")} if held else {}
        return hashlib.sha256(json.dumps(_drop_versions(self.card) | bytes_of, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureCache:
    """A cache in the making.

    Its card holds at least count (rows), dim and dtype (fp16 | fp32), and whatever else shapes the vectors.
    """

    out: Path
    card: dict

    def check(self) -> bool:
        """True when the cache is whole; ValueError when the folder holds one, whole or begun, of other settings."""
        for path in (self.out / CARD, self.out / PARTS / CARD):
            if path.exists():
                difference = find_difference(_drop_versions(_read_card(path)), _drop_versions(self._versioned_card()))
                if difference:
                    raise ValueError(f"{self.out} holds features of other settings: {difference}; choose another --out")
        return (self.out / CARD).exists()

    def begin(self) -> None:
        """Make the folder and clear what a killed process left; by one process, before any other writes."""
        (self.out / PARTS).mkdir(parents=True, exist_ok=True)
        for folder in (self.out, self.out / PARTS):
            atomic.remove_drafts(folder)
        atomic.write_text(self.out / PARTS / CARD, json.dumps(self._versioned_card(), indent=2) + "\n")

    def chunks(self, *, rank: int = 0, world: int = 1) -> list[range]:
        """Rows of each chunk that one of `world` processes still has to make.

        Which rows a chunk holds does not depend on `world`, and which chunks a rank owns not on what is done, so that
        processes that look at different moments neither skip nor repeat one.
        """
        if not 0 <= rank < world:
            raise ValueError(f"rank={rank} must be in [0, {world})")
        return [chunk for chunk in self._all_chunks()[rank::world] if not self._done(chunk)]

    def write(self, chunk: range, features: np.ndarray) -> None:
        """Keep a chunk's vectors, (rows, dim); ValueError where one is not finite in the stored dtype."""
        with np.errstate(over="ignore"):  # told below, with the row
            stored = np.ascontiguousarray(features, self._dtype)
        if stored.shape != self._shape(chunk):
            raise ValueError(f"chunk {chunk} wants vectors {self._shape(chunk)}, got {stored.shape}")
        if not np.isfinite(stored).all():
            row = chunk[int(np.flatnonzero(~np.isfinite(stored).all(1))[0])]
            raise ValueError(f"the vector of row {row} is not finite as {self.card['dtype']}; use --dtype fp32 or --l2 true")
        content = io.BytesIO()  # of a full disk NumPy says only how much it wrote
        np.save(content, stored, allow_pickle=False)
        atomic.write_bytes(self._part(chunk), content.getbuffer())

    def finish(self, labels: pa.Table, *, rows: np.ndarray | None = None) -> None:
        """All chunks into the finished cache; by one process, when every chunk is there.

        Args:
            labels: (N,) rows; rows: (N,) int64 manifest rows, None for 0..N-1.
        """
        missing = self.chunks()
        if missing or len(labels) != self.card["count"]:
            raise ValueError(
                f"{self.out}: {len(missing)} chunks of features are missing and {len(labels)} labels for "
                f"{self.card['count']} rows; run the same command again, on a folder that all processes share"
            )
        self._assemble(np.arange(len(labels)) if rows is None else rows)
        with atomic.replace(self.out / LABELS) as draft:
            pq.write_table(labels, draft)
        card = json.loads(json.dumps(self._versioned_card()))  # as it is read back: the checksum is of that
        card = feature_checksums.make(self.out / FEATURES, self.out / LABELS, card, chunk_rows=CHUNK_ROWS)
        atomic.write_text(self.out / CARD, json.dumps(card, indent=2) + "\n")
        self.clear()

    def clear(self) -> None:
        """Remove the parts of a whole cache."""
        shutil.rmtree(self.out / PARTS, ignore_errors=True)

    def _assemble(self, rows: np.ndarray) -> None:
        """One batch in one piece, mapped so that memory does not grow with the cache."""
        count, dim = self.card["count"], self.card["dim"]
        with atomic.replace(self.out / FEATURES) as draft:
            raw = draft.with_name(f"{draft.name}.raw.tmp")
            try:
                with open(raw, "wb") as file:  # not through the map: a page without room on the disk kills the process
                    for chunk in self._all_chunks():
                        file.write(read_npy(self._part(chunk).read_bytes()).tobytes())
                block = np.memmap(raw, self._dtype, "r", shape=(count, dim))
                kind = DTYPES[self.card["dtype"]]
                values = pa.Array.from_buffers(kind, count * dim, [None, pa.py_buffer(block)])
                vectors = pa.FixedSizeListArray.from_arrays(values, dim)
                batch = pa.record_batch({"row": pa.array(rows, pa.int64()), "feature": vectors})
                with pa.OSFile(str(draft), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
                    writer.write_batch(batch)
            finally:
                raw.unlink(missing_ok=True)

    def _versioned_card(self) -> dict:
        return {"version": VERSION, **self.card}

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(DTYPES[self.card["dtype"]].to_pandas_dtype())

    def _all_chunks(self) -> list[range]:
        count = self.card["count"]
        return [range(i, min(i + CHUNK_ROWS, count)) for i in range(0, count, CHUNK_ROWS)]

    def _part(self, chunk: range) -> Path:
        return self.out / PARTS / f"chunk-{chunk.start // CHUNK_ROWS:05d}.npy"

    def _shape(self, chunk: range) -> tuple[int, int]:
        return len(chunk), self.card["dim"]

    def _done(self, chunk: range) -> bool:
        path = self._part(chunk)
        if not path.exists():
            return False
        try:
            stored = read_npy(path.read_bytes())
        except ValueError:
            return False  # damaged since it was written: it is made again
        return stored.shape == self._shape(chunk) and stored.dtype == self._dtype


def open_features(root: str | Path, *, verify: bool = True) -> FeatureTable:
    """Open a finished cache; ValueError in one line when it is missing, unfinished, damaged or of another version.

    Args:
        verify: hash all of it first (a gigabyte takes a second or so of a core); a cache without checksums opens unverified.
    """
    root = Path(root)
    card = read_card(root)
    if verify:
        for file, what in damage(root, card):
            raise ValueError(f"{root / file}: {what}; {AGAIN}")
    try:
        labels = pq.read_table(root / LABELS)
        batch = pa.ipc.open_file(pa.memory_map(str(root / FEATURES))).get_batch(0)
        if not batch.num_rows == len(labels) == card["count"]:
            raise ValueError(f"{batch.num_rows} vectors, {len(labels)} labels and a card of {card['count']}")
        vectors = batch.column("feature").flatten().to_numpy(zero_copy_only=True).reshape(batch.num_rows, -1)
        rows = batch.column("row").to_numpy()
    except (OSError, LookupError, TypeError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"{root}: not readable ({one_line(error)}); extract the features again") from error
    return FeatureTable(root=str(root), features=vectors, rows=rows, labels=labels, card=card)


def read_card(root: Path) -> dict:
    """The card of a finished cache; ValueError in one line when there is none, or one of another version."""
    if not (root / CARD).exists():
        begun = (root / PARTS).is_dir()
        raise ValueError(
            f"{root}: no {CARD} here; "
            + (
                "the extraction did not finish: run the same `tarpon features` again"
                if begun
                else "give the folder that `tarpon features ... --out` wrote"
            )
        )
    card = _read_card(root / CARD)
    if card.get("version") != VERSION:
        raise ValueError(f"{root}: features of version {card.get('version')}, this Tarpon reads {VERSION}; extract again")
    return card


def damage(root: Path, card: Mapping) -> Iterator[tuple[str, str]]:
    """(file, what is wrong) of every file of a cache that is missing or not what its card says."""
    missing = [name for name in (FEATURES, LABELS) if not (root / name).is_file()]
    yield from ((name, "is missing") for name in missing)
    if not missing:
        yield from feature_checksums.find_damage(root, card, features=FEATURES, labels=LABELS, name=CARD)


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def select_labels(manifest: Manifest) -> pa.Table:
    """The manifest's columns but for where and how a sample lies in its tar."""
    prefixes = [name.partition(".")[0] for name in manifest.card["components"]]
    places = {f"{prefix}_{what}" for prefix in prefixes for what in ("offset", "size", "sha256")}
    dropped = places | {"shard", "source_sha256"}
    return manifest.table.select([name for name in manifest.table.column_names if name not in dropped])


def select_class_lists(card: Mapping) -> dict[str, list[str]]:
    """The lists of names in a data set's card."""
    named = {key: value for key, value in card.items() if isinstance(value, list)}
    return {key: value for key, value in named.items() if value and all(isinstance(name, str) for name in value)}


def find_difference(one: object, other: object, place: str = "") -> str | None:
    """`name=value, asked: value` of the first entry in which two cards differ; None where they agree."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in [*other, *(name for name in one if name not in other)]:
            found = find_difference(one.get(name), other.get(name), f"{place}.{name}" if place else name)
            if found:
                return found
        return None
    return None if one == other else f"{place}={one!s:.80}, asked: {other!s:.80}"


def _drop_versions(card: Mapping) -> dict:
    """What two caches must agree in, as JSON gives it back (tuples are lists there)."""
    return json.loads(json.dumps({name: value for name, value in card.items() if name not in RECORDED}))


def _read_card(path: Path) -> dict:
    try:
        card = json.loads(path.read_text())
        if not isinstance(card, dict):
            raise ValueError(f"a {type(card).__name__}, not an object")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error}); delete the folder and extract again") from error
    return card
