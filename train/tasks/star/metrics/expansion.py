"""Alpha query expansion (Radenović, Tolias and Chum, TPAMI 2019): a query and its nearest, added up, search once more.

Each query is expanded from the gallery alone, never from other queries: what it finds does not depend on what else is asked, so
a single new photograph can be searched in this way too.

Q queries, G gallery items, D values of an embedding, k neighbours, n queries of one strip.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tarpon.train.tasks.star.metrics.retrieval import Retrieval, cosine_strips, nearest_neighbours, search
from tarpon.train.tasks.star.metrics.search_options import STRIP_BYTES, Expansion
from tarpon.train.tasks.star.metrics.tiles import Tiles, collect_items, find_nearest

VALUE_BYTES = 8  # of each value of the neighbours of a strip: the value, and its product with a weight


def search_expanded(
    queries: Tensor,
    gallery: Tensor,
    *,
    expansion: Expansion | None = None,
    exclude: np.ndarray | None = None,
    strip_bytes: int = STRIP_BYTES,
    device: torch.device | str = "cpu",
    **asked: Any,
) -> Retrieval:
    """`retrieval.search` by expanded queries. Arguments as there; a query that is in the gallery is not its own neighbour."""
    how = {"exclude": exclude, "strip_bytes": strip_bytes, "device": device}
    return search(expand(queries, gallery, expansion=expansion or Expansion(), **how), gallery, **how, **asked)


@torch.no_grad()
def expand(
    queries: Tensor,
    gallery: Tensor,
    *,
    exclude: np.ndarray | None = None,
    expansion: Expansion,
    strip_bytes: int = STRIP_BYTES,
    device: torch.device | str = "cpu",
) -> Tensor:
    """(Q, D) float32 on the device, not normalised: q + sum over its k nearest x of max(q x, 0) ** alpha x, all of unit length.

    Args:
        queries: (Q, D). gallery: (G, D). exclude: (Q,) place of the query itself in the gallery, -1 where it has none.
        expansion: k and alpha; a smaller gallery is taken whole.
    """
    own = torch.as_tensor(np.full(len(queries), -1) if exclude is None else np.asarray(exclude))
    near = torch.as_tensor(
        nearest_neighbours(
            cosine_strips(queries, gallery, device=device),
            num_queries=len(queries),
            num_gallery=len(gallery),
            count=expansion.count + 1,  # one more, for the query itself
            strip_bytes=strip_bytes,
        )
    )
    taken = near != own[:, None]
    taken &= taken.cumsum(1) <= expansion.count
    unit = F.normalize(gallery.to(device, torch.float32))
    expanded = torch.empty(len(queries), queries.shape[1], device=device)
    step = max(1, strip_bytes // (VALUE_BYTES * near.shape[1] * queries.shape[1]))
    for low in range(0, len(queries), step):
        at = slice(low, low + step)
        query = F.normalize(queries[at].to(device, torch.float32))
        neighbours = unit[near[at].to(device)]  # (n, k + 1, D)
        expanded[at] = _add_neighbours(query, neighbours, taken[at].to(device), alpha=expansion.alpha)
    return expanded


@torch.no_grad()
def expand_by_tiles(
    queries: Tensor, tiles: Tiles, *, expansion: Expansion, device: torch.device | str = "cpu", **how: Any
) -> Tensor:
    """`expand` of the queries of one of several processes, to which the gallery is handed in tiles, twice.

    The neighbours of all its queries are held: k D values a query.

    Args:
        how: arguments of `tiles.find_nearest`.
    """
    near = find_nearest(queries, tiles, count=expansion.count, device=device, **how)
    neighbours = collect_items(near, tiles, width=queries.shape[1])
    return _add_neighbours(F.normalize(queries.to(device, torch.float32)), neighbours, near >= 0, alpha=expansion.alpha)


def _add_neighbours(query: Tensor, neighbours: Tensor, taken: Tensor, *, alpha: float) -> Tensor:
    """(n, D), of queries (n, D) and neighbours (n, k, D) of length 1, of which (n, k) bool are taken."""
    cosine = torch.einsum("nd,nkd->nk", query, neighbours)
    weight = cosine.clamp(min=0) ** alpha * taken
    return query + torch.einsum("nk,nkd->nd", weight, neighbours)
