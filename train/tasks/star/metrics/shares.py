"""A split that is embedded, searched and written by several processes, each its own rows and its own queries.

Rank 0 is handed what its scores are made of, 64 bytes a query and way of searching. It re-ranks alone, where that is asked for:
then it is handed the embeddings too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tarpon.train.engine import DistContext
from tarpon.train.prediction_files import share_path
from tarpon.train.task import Result
from tarpon.train.tasks.star.gather import ProcessExchange
from tarpon.train.tasks.star.metrics.collect import (
    LEFT_OUT,
    SUFFIX,
    EmbeddingMetric,
    join_parts,
    parquet_path,
    score_search,
    take_batch,
)
from tarpon.train.tasks.star.metrics.embeddings import (
    GALLERY,
    NEW,
    QUERY,
    VECTORS,
    WAYS,
    EmbeddingRows,
    RowNames,
    SearchOptions,
    SearchResult,
    check_roles,
    check_rows,
    name_rows,
    save_embeddings,
    search_reranked,
)
from tarpon.train.tasks.star.metrics.local_search import LocalRescorer
from tarpon.train.tasks.star.metrics.retrieval import Retrieval
from tarpon.train.tasks.star.metrics.tile_search import Exchange, TileSearch


def make_metric(
    names: RowNames,
    context: DistContext,
    *,
    roles: np.ndarray,
    protocol: str,
    search_options: SearchOptions,
    rescorer: LocalRescorer | None,
) -> "EmbeddingMetric | SharedEmbeddingMetric":
    """Of several processes each searches for its own queries."""
    told = {"roles": roles, "protocol": protocol, "search_options": search_options, "rescorer": rescorer}
    if context.world == 1:
        return EmbeddingMetric(names, device=context.device, **told)
    return SharedEmbeddingMetric(names, exchange=ProcessExchange(context=context), device=context.device, **told)


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingPart:
    """What one process hands on."""

    row: np.ndarray  # (n,) int64 its rows that have a role, ascending
    left_out: np.ndarray  # (m,) int64 rows that could not be read
    found: dict[str, Retrieval]  # field of SearchResult -> over its own queries
    embedding: np.ndarray | None  # (n, D) where rank 0 re-ranks
    seconds: float | None  # that local features took; None: they were not asked for


class SharedEmbeddingMetric:
    """As `EmbeddingMetric`, whose arguments it has, on each of several processes.

    Args:
        exchange: between these processes, which hold stretches of the split in rank order.
    """

    def __init__(
        self,
        names: RowNames,
        *,
        exchange: Exchange,
        roles: np.ndarray,
        protocol: str,
        search_options: SearchOptions,
        rescorer: LocalRescorer | None = None,
        device: torch.device | str = "cpu",
        resamples: int = 1000,
    ) -> None:
        self._names, self._exchange, self._roles, self._protocol = names, exchange, roles, protocol
        self._searching, self._rescorer = search_options, rescorer
        self._device, self._resamples = device, resamples
        self._parts: list[dict[str, np.ndarray]] = []
        self._own: EmbeddingRows | None = None

    def add(self, out: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """As `EmbeddingMetric.add`."""
        self._parts.append(take_batch(out, batch))

    def part(self) -> EmbeddingPart:
        """The searches of this process's queries. Collective, and so are its errors: all processes raise the same.

        Raises:
            ValueError: a row comes twice or is missing, embeddings that are not finite, nothing to search.
        """
        check_roles(self._roles)
        held = join_parts(self._parts)
        self._parts = []
        vectors = {name: held[name] for name in VECTORS if name in held}
        finite = all(bool(np.isfinite(value).all()) for value in vectors.values())
        told = self._exchange.gather((held["row"], held[LEFT_OUT], finite))
        roles = self._remove([left_out for _, left_out, _ in told])
        check_rows(np.concatenate([row for row, _, _ in told]), roles=roles, names=self._names)
        check_roles(roles)
        if not all(finite for *_, finite in told):
            raise ValueError("embeddings are not all finite; the model has diverged, lower --optim.lr")
        order = np.argsort(held["row"])
        order = order[roles[held["row"][order]] != 0]
        vectors = {name: value[order] for name, value in vectors.items()}
        how = {"names": self._names, "roles": roles, "protocol": self._protocol}
        self._own = name_rows(held["row"][order], **how, whole=False, **vectors)
        found = self._search([np.sort(row) for row, _, _ in told], roles)
        return EmbeddingPart(
            row=self._own.row,
            left_out=held[LEFT_OUT],
            found=found,
            embedding=None if self._searching.reranking is None else self._own.embedding,
            seconds=None if self._rescorer is None else self._rescorer.seconds,
        )

    def read(self, parts: list[EmbeddingPart]) -> Result:
        """The scores of the parts of all processes; `rows` are without embeddings, but where they were re-ranked."""
        row, roles = np.concatenate([part.row for part in parts]), self._remove([part.left_out for part in parts])
        nothing = self._searching.reranking is None
        vectors = [np.empty((len(part.row), 0), np.float32) if nothing else part.embedding for part in parts]
        how = {"names": self._names, "roles": roles, "protocol": self._protocol}
        rows = name_rows(row, **how, embedding=np.concatenate(vectors))
        ways = dict.fromkeys((*WAYS, "new"))
        ways |= {name: join_found([part.found[name] for part in parts]) for name in parts[0].found}
        ways["reranked"] = search_reranked(rows, self._searching, device=self._device)
        found = SearchResult(rows=rows, query=rows.indices(QUERY), gallery=rows.indices(GALLERY), **ways)
        scalars = score_search(found, resamples=self._resamples)
        if self._rescorer is not None:
            scalars["local_seconds"] = max(part.seconds for part in parts)
        return Result(scalars=scalars, save=self.save, rows=found, files=self._exchange.world, suffix=SUFFIX)

    def save(self, path: Path) -> None:
        """Write this process's embeddings into its own file beside `path`."""
        own = share_path(parquet_path(path), place=self._exchange.rank, places=self._exchange.world)
        save_embeddings(own, self._own)

    def _remove(self, left_out: Sequence[np.ndarray]) -> np.ndarray:
        """(R,) roles without those of rows that could not be read."""
        roles = self._roles.copy()
        roles[np.concatenate(left_out)] = 0
        return roles

    def _search(self, rows: Sequence[np.ndarray], roles: np.ndarray) -> dict[str, Retrieval]:
        """Field of SearchResult -> search over own queries; the same fields on all processes. rows: of every process."""
        held = [own[roles[own] & GALLERY > 0] for own in rows]
        assert (np.diff(np.concatenate(held)) > 0).all(), "processes must hold stretches of the rows in rank order"
        how = {"exchange": self._exchange, "names": self._names, "search_options": self._searching, "device": self._device}
        search = TileSearch(own=self._own, held=held, **how)
        if self._rescorer is not None:
            self._own = replace(self._own, **search.compare(self._rescorer))
        return replace(search, own=self._own).run_all(new=bool((roles & NEW).any()))


def join_found(parts: Sequence[Retrieval]) -> Retrieval:
    """One search of the queries of all parts, in their order."""
    names = [field.name for field in fields(Retrieval)]
    return Retrieval(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
