"""The searches of one of several processes: its own queries in the gallery of all, of which each holds a stretch.

Plain, by mirror images, by expanded queries, by local features, of new animals: each looks at a query and the gallery alone.
Re-ranking is not here, for it compares the neighbourhoods of all queries and the whole gallery. Everything is collective, and
all processes make the same searches in the same order. Q queries of this process, K nearest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tarpon.train.tasks.star.metrics.embeddings import GALLERY, NEW, QUERY, EmbeddingRows, RowNames
from tarpon.train.tasks.star.metrics.expansion import expand_by_tiles
from tarpon.train.tasks.star.metrics.local_search import LocalRescorer, find_lift
from tarpon.train.tasks.star.metrics.retrieval import Retrieval
from tarpon.train.tasks.star.metrics.search_options import SearchOptions
from tarpon.train.tasks.star.metrics.tiles import TILE, Tiles, find_nearest, search_tiles


class Exchange(Protocol):
    """What processes ask of each other: `gather.ProcessExchange`, or a test's own."""

    rank: int
    world: int

    def gather(self, value: object) -> list:
        """Everybody's value on every process."""

    def pass_tiles(self, rows: Tensor, counts: Sequence[int], *, size: int) -> Iterator[Tensor]:
        """Rows of all processes, in rank order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TileSearch:
    """One process's queries, and its stretch of the gallery."""

    exchange: Exchange
    names: RowNames
    own: EmbeddingRows
    held: Sequence[np.ndarray]  # rows of the gallery of every process, ascending from first to last
    search_options: SearchOptions
    device: torch.device | str

    @property
    def gallery(self) -> np.ndarray:
        """(G,) int64 rows."""
        return np.concatenate(self.held)

    def run_all(self, *, new: bool) -> dict[str, Retrieval]:
        """Field of SearchResult -> search; by local features where the own rows hold what they share.

        Args:
            new: there are new animals, whoever has them.
        """
        found = {"plain": self._search(self.own.embedding)}
        if self.own.embedding_flips is not None:
            found["flips"] = self._search(self.own.embedding_flips)
        if new:
            found["new"] = self._search(self.own.embedding, role=NEW)
        if self.search_options.expansion is not None:
            how = {"expansion": self.search_options.expansion, "num_gallery": len(self.gallery), **self._how(QUERY)}
            tiles = self._tiles(self.own.embedding)
            queries = expand_by_tiles(torch.as_tensor(self.own.embedding[self.own.indices(QUERY)]), tiles, **how)
            found["expanded"] = self._search(self.own.embedding, queries=queries)
        if self.own.shared is not None:
            candidates, shared = (part[self.own.indices(QUERY)] for part in (self.own.candidates, self.own.shared))
            nearest = np.searchsorted(self.gallery, candidates).clip(max=len(self.gallery) - 1)
            nearest = np.where(candidates >= 0, nearest, -1)
            found["local"] = self._search(self.own.embedding, lifts=(nearest, find_lift(nearest, shared)))
        return found

    def compare(self, rescorer: LocalRescorer) -> dict[str, np.ndarray]:
        """`candidates` and `shared` of EmbeddingRows, (N, K): what own queries share with the first K of plain search."""
        asked, count = self.own.indices(QUERY), self.search_options.local
        queries, tiles = torch.as_tensor(self.own.embedding[asked]), self._tiles(self.own.embedding)
        how = {"count": count, "num_gallery": len(self.gallery), **self._how(QUERY)}
        nearest = find_nearest(queries, tiles, **how).cpu().numpy()
        candidates, shared = np.full((len(self.own), count), -1), np.zeros((len(self.own), count), np.int64)
        candidates[asked] = np.where(nearest >= 0, self.gallery[nearest], -1)
        shared[asked] = rescorer.count(self.own.row[asked], candidates[asked])
        return {"candidates": candidates, "shared": shared}

    def _search(self, vectors: np.ndarray, *, role: int = QUERY, queries: Tensor | None = None, **more: Any) -> Retrieval:
        """Own rows of a role, by `vectors` or, of these rows, by `queries`."""
        asked = self.own.indices(role)
        return search_tiles(
            torch.as_tensor(vectors[asked]) if queries is None else queries,
            self._tiles(vectors),
            query_labels=self.own.identity[asked],
            gallery_labels=self.names.identity[self.gallery],
            **self._how(role),
            **more,
        )

    def _how(self, role: int) -> dict[str, Any]:
        """What every search of own rows of a role is told."""
        asked, gallery = self.own.indices(role), self.gallery
        at = np.searchsorted(gallery, self.own.row[asked]).clip(max=len(gallery) - 1)
        how = {
            "exclude": np.where(gallery[at] == self.own.row[asked], at, -1),
            "strip_bytes": self.search_options.strip_bytes,
            "device": self.device,
        }
        groups = {"query_groups": self.own.dataset[asked], "gallery_groups": self.names.dataset[gallery]}
        return how | (groups if self.search_options.within_dataset else {})

    def _tiles(self, vectors: np.ndarray) -> Tiles:
        mine = torch.as_tensor(vectors[self.own.indices(GALLERY)])

        def tiles() -> Iterator[tuple[int, Tensor]]:
            first = 0
            for tile in self.exchange.pass_tiles(mine, list(map(len, self.held)), size=TILE):
                yield first, tile
                first += len(tile)

        return tiles
