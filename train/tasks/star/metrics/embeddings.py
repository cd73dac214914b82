"""Embeddings of a split with what they are of, the file that holds them, and the searches among them.

N rows, D values of an embedding, Q queries, G gallery items.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tarpon.shards import atomic
from tarpon.train.tasks.star.metrics.rerank import rerank
from tarpon.train.tasks.star.metrics.retrieval import Retrieval, search, search_within_groups
from tarpon.train.tasks.star.metrics.search_options import SearchOptions

FORMAT = 1  # of the file; raised when its columns change
NOTE = b"tarpon.embeddings"  # the file's metadata of this name: {"format", "protocol"} as JSON
QUERY, GALLERY, NEW = 1, 2, 4  # roles; a row that is looked for among its own kind is both, QUERY + GALLERY
WORDS = ("key", "identity", "outing", "dataset")
VECTORS = ("embedding", "embedding_flips")


@dataclass(frozen=True, kw_only=True, eq=False)
class RowNames:
    """What the R rows of the table are called: (R,) str each."""

    key: np.ndarray
    identity: np.ndarray  # unique over data sets
    outing: np.ndarray  # path of the folder, relative to the data set's root
    dataset: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingRows:
    """A split, each row once, in order of `row`."""

    protocol: str  # one sentence: which rows are queries and which are the gallery
    row: np.ndarray  # (N,) int64 in the table
    key: np.ndarray  # (N,) str
    identity: np.ndarray  # (N,) str
    outing: np.ndarray  # (N,) str
    dataset: np.ndarray  # (N,) str
    role: np.ndarray  # (N,) int8: QUERY, GALLERY, both added up, or NEW (its animal is not in the gallery)
    embedding: np.ndarray  # (N, D) float32, not normalised
    embedding_flips: np.ndarray | None = None  # (N, D) float32, averaged over flips of the picture

    def __post_init__(self) -> None:
        for name in ("row", "role", *WORDS):
            if getattr(self, name).shape != (len(self.embedding),):
                raise ValueError(f"{name} is {getattr(self, name).shape}; one value for each of {len(self.embedding)} rows")
        if not (self.role & QUERY).any() or not (self.role & GALLERY).any():
            raise ValueError(
                f"{(self.role & QUERY > 0).sum()} queries and {(self.role & GALLERY > 0).sum()} gallery rows; both are needed, "
                f"look at the manifest's split column"
            )

    def __len__(self) -> int:
        return len(self.row)

    def indices(self, role: int) -> np.ndarray:
        """(n,) int64 of the rows that have this role."""
        return np.flatnonzero(self.role & role)


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """Searches of a split: all over the same queries, in order of row."""

    rows: EmbeddingRows
    query: np.ndarray  # (Q,) int64 indices into `rows`
    gallery: np.ndarray  # (G,) int64 indices into `rows`; `nearest` holds indices into this
    plain: Retrieval
    flips: Retrieval | None  # by the embeddings averaged over flips
    reranked: Retrieval | None  # plain embeddings, re-ranked: transductive
    new: Retrieval | None  # of the NEW rows, for which only `best`, `nearest` and `similarity` say something

    def query_values(self, name: str) -> np.ndarray:
        """(Q,) identity, outing, dataset, key or row of the queries."""
        return getattr(self.rows, name)[self.query]

    def variants(self) -> dict[str, Retrieval]:
        """plain, flips, reranked -> the search, as far as it was made."""
        made = {"plain": self.plain, "flips": self.flips, "reranked": self.reranked}
        return {name: retrieval for name, retrieval in made.items() if retrieval is not None}


def search_split(rows: EmbeddingRows, search_options: SearchOptions, *, device: torch.device | str = "cpu") -> SearchResult:
    """Search the gallery for every query, in every way of the options; no row is compared with itself."""
    query, gallery, new = (rows.indices(role) for role in (QUERY, GALLERY, NEW))
    at = np.searchsorted(gallery, query).clip(max=len(gallery) - 1)
    plain_way = partial(search, strip_bytes=search_options.strip_bytes, device=device)

    def run(vectors: np.ndarray, method: partial, queries: np.ndarray, exclude: np.ndarray) -> Retrieval:
        tensors = (torch.as_tensor(vectors[own], device=device) for own in (queries, gallery))
        named = {
            "query_labels": rows.identity[queries],
            "gallery_labels": rows.identity[gallery],
            "exclude": exclude,
            "top": search_options.top,
        }
        if not search_options.within_dataset:
            return method(*tensors, **named)
        groups = {"query_groups": rows.dataset[queries], "gallery_groups": rows.dataset[gallery]}
        return search_within_groups(method, *tensors, **groups, **named)

    own = np.where(gallery[at] == query, at, -1)
    way = partial(rerank, reranking=search_options.reranking, strip_bytes=search_options.strip_bytes, device=device)
    return SearchResult(
        rows=rows,
        query=query,
        gallery=gallery,
        plain=run(rows.embedding, plain_way, query, own),
        flips=None if rows.embedding_flips is None else run(rows.embedding_flips, plain_way, query, own),
        reranked=None if search_options.reranking is None else run(rows.embedding, way, query, own),
        new=run(rows.embedding, plain_way, new, np.full(len(new), -1)) if len(new) else None,
    )


def join_batches(
    parts: Sequence[Mapping[str, np.ndarray]], *, names: RowNames, roles: np.ndarray, protocol: str
) -> EmbeddingRows:
    """Rows from several batches or processes, put in order of `row`.

    Args:
        parts: each "row" (n,) int64, "embedding" (n, D) and perhaps "embedding_flips" (n, D).
        roles: (R,) of the table; 0: the row has none and is left out.

    Raises:
        ValueError: a row is there twice, or one that has a role is missing.
    """
    given = np.concatenate([part["row"] for part in parts]) if parts else np.empty(0, np.int64)
    row, first = np.unique(given, return_index=True)
    if len(row) != len(given):
        raise ValueError(f"{len(given) - len(row)} rows of the split were embedded more than once; drop the repeats")
    missing = np.setdiff1d(np.flatnonzero(roles), row)
    if len(missing):
        raise ValueError(
            f"{len(missing)} rows of the split were not embedded, {names.key[missing[0]]} the first; without them the gallery "
            f"would be smaller than the protocol says"
        )
    kept = first[np.asarray(roles)[row] != 0]
    vectors = {name: np.concatenate([part[name] for part in parts])[kept] for name in VECTORS if parts and name in parts[0]}
    row = given[kept]
    words = {name: np.asarray(getattr(names, name))[row] for name in WORDS}
    return EmbeddingRows(protocol=protocol, row=row, role=np.asarray(roles, np.int8)[row], **words, **vectors)


def save_embeddings(path: Path, rows: EmbeddingRows, *, dtype: str = "float32") -> None:
    """One parquet file: row, key, identity, outing, dataset, role, embedding (a fixed-size list) and embedding_flips if any.

    Args:
        dtype: float32 or float16 of the stored vectors; half of them orders near neighbours anew.
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype={dtype!r} must be float32 or float16")
    columns = {name: pa.array(getattr(rows, name)) for name in ("row", *WORDS, "role")}
    for name in VECTORS:
        vectors = getattr(rows, name)
        if vectors is not None:
            flat = pa.array(np.ascontiguousarray(vectors, dtype).ravel())
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    note = json.dumps({"format": FORMAT, "protocol": rows.protocol})
    table = pa.table(columns).replace_schema_metadata({NOTE: note.encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replace(path) as draft:
        pq.write_table(table, draft, compression="zstd")


def load_embeddings(path: Path) -> EmbeddingRows:
    """Read a file of `save_embeddings`; ValueError in one line when it is something else."""
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a parquet file, or cut short; write it again") from error
    note = json.loads((table.schema.metadata or {}).get(NOTE, b"{}"))
    if note.get("format") != FORMAT:
        raise ValueError(f"{path}: not a file of embeddings of format {FORMAT}; write it again")
    held = {field.name for field in fields(EmbeddingRows)} & set(table.column_names)
    arrays = {name: _vectors(table[name]) if name in VECTORS else table[name].to_numpy() for name in held}
    words = {name: arrays[name].astype(str) for name in WORDS}
    return EmbeddingRows(protocol=note["protocol"], **(arrays | words))


def _vectors(column: pa.ChunkedArray) -> np.ndarray:
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return flat.astype(np.float32, copy=False).reshape(len(column), column.type.list_size)
