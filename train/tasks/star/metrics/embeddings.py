"""Embeddings of a split with what they are of, the file that holds them, and the searches among them.

N rows, D values of an embedding, Q queries, G gallery items.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tarpon.shards import atomic
from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.star.metrics.expansion import search_expanded
from tarpon.train.tasks.star.metrics.local_search import LocalRescorer, rank_by_local_features
from tarpon.train.tasks.star.metrics.rerank import rerank
from tarpon.train.tasks.star.metrics.retrieval import Retrieval, search, search_within_groups
from tarpon.train.tasks.star.metrics.search_options import SearchOptions

FORMAT = 1  # of the file; raised when its columns change
NOTE = b"tarpon.embeddings"  # the file's metadata of this name: {"format", "protocol"} as JSON
QUERY, GALLERY, NEW = 1, 2, 4  # roles; a row that is looked for among its own kind is both, QUERY + GALLERY
WORDS = ("key", "identity", "outing", "dataset")
VECTORS = ("embedding", "embedding_flips")
COMPARED = ("candidates", "shared")
WAYS = {  # of searching beside plain cosine: field of SearchResult and prefix of its scores -> what readers see
    "flips": "with mirror images",
    "expanded": "expanded queries",
    "reranked": "re-ranked",
    "local": "local features",
}


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
    candidates: np.ndarray | None = None  # (N, K) int64 rows whose local features were compared with it; -1: none
    shared: np.ndarray | None = None  # (N, K) int64 local features shared with each of them
    whole: bool = True  # False: a process's share of a split, which may lack queries or gallery

    def __post_init__(self) -> None:
        for name in ("row", "role", *WORDS):
            if getattr(self, name).shape != (len(self.embedding),):
                raise ValueError(f"{name} is {getattr(self, name).shape}; one value for each of {len(self.embedding)} rows")
        if self.whole:
            check_roles(self.role)

    def __len__(self) -> int:
        return len(self.row)

    def indices(self, role: int) -> np.ndarray:
        """(n,) int64 of the rows that have this role."""
        return np.flatnonzero(self.role & role)


def check_roles(role: np.ndarray) -> None:
    """ValueError where there is nothing to search, or nothing to search for."""
    if not (role & QUERY).any() or not (role & GALLERY).any():
        raise ValueError(
            f"{(role & QUERY > 0).sum()} queries and {(role & GALLERY > 0).sum()} gallery rows; both are needed, "
            f"look at the manifest's split column"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """Searches of a split: all over the same queries, in order of row."""

    rows: EmbeddingRows
    query: np.ndarray  # (Q,) int64 indices into `rows`
    gallery: np.ndarray  # (G,) int64 indices into `rows`; `nearest` holds indices into this
    plain: Retrieval
    flips: Retrieval | None  # by the embeddings averaged over flips
    expanded: Retrieval | None  # plain embeddings, each query with its nearest added
    reranked: Retrieval | None  # plain embeddings, re-ranked: transductive
    local: Retrieval | None  # the first K of plain search ordered by local features
    new: Retrieval | None  # of the NEW rows, for which only `best`, `nearest` and `similarity` say something

    def query_values(self, name: str) -> np.ndarray:
        """(Q,) identity, outing, dataset, key or row of the queries."""
        return getattr(self.rows, name)[self.query]

    def variants(self) -> dict[str, Retrieval]:
        """plain, flips, expanded, reranked, local -> the search, as far as it was made."""
        made = {name: getattr(self, name) for name in ("plain", *WAYS)}
        return {name: retrieval for name, retrieval in made.items() if retrieval is not None}


def search_split(
    rows: EmbeddingRows,
    search_options: SearchOptions,
    *,
    rescorer: LocalRescorer | None = None,
    device: torch.device | str = "cpu",
) -> SearchResult:
    """Search the gallery for every query, in every way of the options; no row is compared with itself.

    Args:
        rescorer: compares local features, which the result's rows then hold; None: where `rows` hold them, these are taken.
    """
    query, gallery, new = (rows.indices(role) for role in (QUERY, GALLERY, NEW))
    common = {"strip_bytes": search_options.strip_bytes, "device": device}
    plain_way, run = partial(search, **common), partial(_search_one_way, rows, search_options, device=device)
    expanding = partial(search_expanded, expansion=search_options.expansion, **common)
    plain = run(plain_way)
    if rescorer is not None:
        rows = _with_local_features(rows, plain.nearest[:, : search_options.local], query, gallery, rescorer=rescorer)
    local_way = (
        partial(rank_by_local_features, **_compared(rows, query, gallery), **common) if rows.shared is not None else None
    )
    return SearchResult(
        rows=rows,
        query=query,
        gallery=gallery,
        plain=plain,
        flips=None if rows.embedding_flips is None else run(plain_way, vectors=rows.embedding_flips),
        expanded=None if search_options.expansion is None else run(expanding),
        reranked=search_reranked(rows, search_options, device=device),
        local=None if local_way is None else run(local_way),
        new=run(plain_way, role=NEW) if len(new) else None,
    )


def search_reranked(
    rows: EmbeddingRows, search_options: SearchOptions, *, device: torch.device | str = "cpu"
) -> Retrieval | None:
    """The re-ranked search of a split; None where the options ask for none."""
    if search_options.reranking is None:
        return None
    how = {"strip_bytes": search_options.strip_bytes, "device": device}
    return _search_one_way(rows, search_options, partial(rerank, reranking=search_options.reranking, **how), device=device)


def _search_one_way(
    rows: EmbeddingRows,
    search_options: SearchOptions,
    method: Callable[..., Retrieval],
    *,
    vectors: np.ndarray | None = None,
    role: int = QUERY,
    device: torch.device | str,
) -> Retrieval:
    """Rows of a role in the gallery, by `vectors` (N, D) or else their embeddings."""
    vectors = rows.embedding if vectors is None else vectors
    asked, gallery = rows.indices(role), rows.indices(GALLERY)
    at = np.searchsorted(gallery, asked).clip(max=len(gallery) - 1)
    tensors = (torch.as_tensor(vectors[own], device=device) for own in (asked, gallery))
    named = {
        "query_labels": rows.identity[asked],
        "gallery_labels": rows.identity[gallery],
        "exclude": np.where(gallery[at] == asked, at, -1),
        "top": search_options.top,
    }
    if not search_options.within_dataset:
        return method(*tensors, **named)
    groups = {"query_groups": rows.dataset[asked], "gallery_groups": rows.dataset[gallery]}
    return search_within_groups(method, *tensors, **groups, **named)


def _with_local_features(
    rows: EmbeddingRows, nearest: np.ndarray, query: np.ndarray, gallery: np.ndarray, *, rescorer: LocalRescorer
) -> EmbeddingRows:
    """The rows with what each query (Q,) shares with its nearest (Q, K), indices into gallery (G,)."""
    whole = {
        name: np.full((len(rows), nearest.shape[1]), empty, np.int64) for name, empty in zip(COMPARED, (-1, 0), strict=True)
    }
    whole["candidates"][query] = np.where(nearest >= 0, rows.row[gallery][nearest], -1)
    whole["shared"][query] = rescorer.count(rows.row[query], whole["candidates"][query])
    return replace(rows, **whole)


def _compared(rows: EmbeddingRows, query: np.ndarray, gallery: np.ndarray) -> dict[str, np.ndarray]:
    """`nearest` and `shared` of the queries, as rank_by_local_features takes them."""
    candidates = rows.candidates[query]
    places = np.searchsorted(rows.row[gallery], candidates).clip(max=len(gallery) - 1)  # rows ascend
    return {"nearest": np.where(candidates >= 0, places, -1), "shared": rows.shared[query]}


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
    check_rows(given, roles=roles, names=names)
    row, first = np.unique(given, return_index=True)
    kept = first[np.asarray(roles)[row] != 0]
    vectors = {name: np.concatenate([part[name] for part in parts])[kept] for name in VECTORS if parts and name in parts[0]}
    return name_rows(given[kept], names=names, roles=roles, protocol=protocol, **vectors)


def check_rows(given: np.ndarray, *, roles: np.ndarray, names: RowNames) -> None:
    """ValueError where one of the embedded rows is there twice, or one that has a role is missing."""
    row = np.unique(given)
    if len(row) != len(given):
        raise ValueError(f"{len(given) - len(row)} rows of the split were embedded more than once; drop the repeats")
    missing = np.setdiff1d(np.flatnonzero(roles), row)
    if len(missing):
        raise ValueError(
            f"{len(missing)} rows of the split were not embedded, {names.key[missing[0]]} the first; without them the gallery "
            f"would be smaller than the protocol says"
        )


def name_rows(
    row: np.ndarray, *, names: RowNames, roles: np.ndarray, protocol: str, whole: bool = True, **vectors: np.ndarray
) -> EmbeddingRows:
    """Rows (n,) of the table, ascending, with their names, roles and vectors."""
    words = {name: np.asarray(getattr(names, name))[row] for name in WORDS}
    return EmbeddingRows(protocol=protocol, row=row, role=np.asarray(roles, np.int8)[row], whole=whole, **words, **vectors)


def save_embeddings(path: Path, rows: EmbeddingRows, *, dtype: str = "float32") -> None:
    """One parquet file: row, key, identity, outing, dataset, role, embedding (a fixed-size list) and, if there are
    any, embedding_flips, candidates and shared.

    Args:
        dtype: float32 or float16 of the stored vectors; half of them orders near neighbours anew.
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype={dtype!r} must be float32 or float16")
    columns = {name: pa.array(getattr(rows, name)) for name in ("row", *WORDS, "role")}
    for name in (*VECTORS, *COMPARED):
        vectors = getattr(rows, name)
        if vectors is not None:
            flat = pa.array(np.ascontiguousarray(vectors, dtype if name in VECTORS else np.int64).ravel())
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    note = json.dumps({"format": FORMAT, "protocol": rows.protocol})
    table = pa.table(columns).replace_schema_metadata({NOTE: note.encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replace(path) as draft:
        pq.write_table(table, draft, compression="zstd")


def load_embeddings(path: Path) -> EmbeddingRows:
    """Read a split's file of `save_embeddings`, or the files of a set; ValueError in one line when it is something else."""
    tables, note = [], {}
    for file in list_shares(path) or [path]:
        try:
            tables.append(pq.read_table(file))
        except pa.ArrowInvalid as error:
            raise ValueError(f"{file}: not a parquet file, or cut short; write it again") from error
        note = json.loads((tables[-1].schema.metadata or {}).get(NOTE, b"{}"))
        if note.get("format") != FORMAT:
            raise ValueError(f"{file}: not a file of embeddings of format {FORMAT}; write it again")
    table = pa.concat_tables(tables)
    held = {field.name for field in fields(EmbeddingRows)} & set(table.column_names)
    types = dict.fromkeys(VECTORS, np.float32) | dict.fromkeys(COMPARED, np.int64)
    arrays = {name: _lists(table[name], types[name]) if name in types else table[name].to_numpy() for name in held}
    words = {name: arrays[name].astype(str) for name in WORDS}
    return EmbeddingRows(protocol=note["protocol"], **(arrays | words))


def _lists(column: pa.ChunkedArray, dtype: type) -> np.ndarray:
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return flat.astype(dtype, copy=False).reshape(len(column), column.type.list_size)
