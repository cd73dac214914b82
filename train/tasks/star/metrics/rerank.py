"""k-reciprocal re-ranking (Zhong, Zheng, Cao and Li, CVPR 2017) in memory that grows with Q + G, never with their product.

Two photographs are alike when they have the same photographs as mutual neighbours. Every query's rank depends on all the other
queries too, so the method is transductive: its scores suppose that the queries come as one batch, as single new photographs
do not. They are reported apart from plain search and never chosen by.

Q queries, G gallery items, N nodes: the gallery, then the queries that are not in it.
"""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from tarpon.train.tasks.star.metrics.retrieval import (
    Retrieval,
    Strip,
    cosine_strips,
    nearest_neighbours,
    rank_gallery,
)
from tarpon.train.tasks.star.metrics.search_options import STRIP_BYTES, Reranking

ROWS = 1024  # of sparse matrices multiplied at a time
PAIRS = 2**16  # of embeddings compared at a time: 2 x 128 MiB at 512 values


def rerank(
    queries: Tensor,
    gallery: Tensor,
    *,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    exclude: np.ndarray | None = None,
    reranking: Reranking | None = None,
    top: int = 20,
    strip_bytes: int = STRIP_BYTES,
    device: torch.device | str = "cpu",
) -> Retrieval:
    """`retrieval.search` by re-ranked distance; `similarity` and its kind hold 1 - that distance. Arguments as there."""
    reranking = reranking or Reranking()
    exclude = np.full(len(query_labels), -1) if exclude is None else np.asarray(exclude)
    new = torch.as_tensor(np.flatnonzero(exclude < 0))
    nodes = torch.cat([F.normalize(part.to(device, torch.float32)) for part in (gallery, queries[new.to(queries.device)])])
    node = exclude.copy()
    node[exclude < 0] = len(gallery) + np.arange(len(new))
    count = max(reranking.k1 + 1, reranking.k2)
    near = nearest_neighbours(
        cosine_strips(nodes, nodes, device=device),
        num_queries=len(nodes),
        num_gallery=len(nodes),
        count=count,
        strip_bytes=strip_bytes,
    )
    vectors = encode_neighbourhoods(nodes, near, reranking)
    strip = _distances(
        cosine_strips(queries, gallery, device=device), vectors, node, num_gallery=len(gallery), share=reranking.share
    )
    return rank_gallery(
        strip,
        query_labels=query_labels,
        gallery_labels=gallery_labels,
        exclude=exclude,
        top=top,
        strip_bytes=strip_bytes,
        device=device,
    )


def encode_neighbourhoods(nodes: Tensor, near: np.ndarray, reranking: Reranking) -> sparse.csr_array:
    """(N, N) float32, about k1 x k2 values a row at most, each row's sum 1: mutual neighbours, weighted by nearness.

    Args:
        nodes: (N, D) unit length. near: (N, max(k1 + 1, k2)) int64 nearest nodes, each usually itself first.
    """
    mutual = _mutual(near[:, : reranking.k1 + 1])
    close = _mutual(near[:, : int(np.around(reranking.k1 / 2)) + 1])
    sizes = np.diff(close.indptr)
    parts = []
    for low in range(0, len(near), ROWS):
        rows = mutual[low : low + ROWS]
        # a neighbour's own close circle joins where more than two thirds of it are neighbours already
        shared = rows.multiply(rows @ close.T).tocoo()
        joins = 3 * shared.data > 2 * sizes[shared.col]
        chosen = sparse.csr_array((np.ones(joins.sum(), np.float32), (shared.row[joins], shared.col[joins])), shape=rows.shape)
        parts.append(_weights(nodes, rows + chosen @ close, first=low))
    own = sparse.vstack(parts, format="csr")
    if reranking.k2 == 1:
        return own
    mean = _links(near[:, : reranking.k2]) / np.float32(min(reranking.k2, near.shape[1]))
    return sparse.vstack([mean[low : low + ROWS] @ own for low in range(0, len(near), ROWS)], format="csr")


def _links(near: np.ndarray) -> sparse.csr_array:
    """(N, k) int64 -> (N, N) float32, 1 where a row's node has the column's among its neighbours."""
    total, count = near.shape
    indptr = np.arange(0, total * count + 1, count)
    return sparse.csr_array((np.ones(near.size, np.float32), near.ravel(), indptr), shape=(total, total))


def _mutual(near: np.ndarray) -> sparse.csr_array:
    links = _links(near)
    return links.multiply(links.T).tocsr()


def _weights(nodes: Tensor, chosen: sparse.csr_array, *, first: int) -> sparse.csr_array:
    """exp(-distance) to the chosen nodes (their values do not matter), every row's sum 1. Rows begin at node `first`."""
    pairs = chosen.tocoo()
    row, column = (torch.as_tensor(index.astype(np.int64), device=nodes.device) for index in (pairs.row, pairs.col))
    weight = np.empty(len(row), np.float32)
    for low in range(0, len(row), PAIRS):
        at = slice(low, low + PAIRS)
        alike = (nodes[row[at] + first] * nodes[column[at]]).sum(1)
        weight[at] = torch.exp(alike - 1).cpu().numpy()
    total = np.bincount(pairs.row, weights=weight, minlength=chosen.shape[0])
    weight /= total[pairs.row].astype(np.float32)
    return sparse.csr_array((weight, (pairs.row, pairs.col)), shape=chosen.shape)


def _distances(plain: Strip, vectors: sparse.csr_array, node: np.ndarray, *, num_gallery: int, share: float) -> Strip:
    """1 - (share x plain distance + (1 - share) x Jaccard distance), a strip of queries at a time. node (Q,) of each query."""
    columns = vectors[:num_gallery].tocsc()

    def strip(low: int, high: int) -> Tensor:
        values = plain(low, high)
        jaccard = np.empty(values.shape, np.float32)
        for i, at in enumerate(node[low:high]):
            shared = _overlap(vectors, columns, at)
            jaccard[i] = 1 - shared / (2 - shared)
        return 1 - (share * (1 - values) + (1 - share) * torch.as_tensor(jaccard, device=values.device))

    return strip


def _overlap(vectors: sparse.csr_array, columns: sparse.csc_array, at: int) -> np.ndarray:
    """(G,) sum over the nodes of the smaller of the two weights, of row `at` and each gallery item."""
    own = slice(vectors.indptr[at], vectors.indptr[at + 1])
    begin = columns.indptr[vectors.indices[own]]
    count = columns.indptr[vectors.indices[own] + 1] - begin
    skipped = np.repeat(begin - np.cumsum(count) + count, count)
    entry = skipped + np.arange(len(skipped))
    smaller = np.minimum(np.repeat(vectors.data[own], count), columns.data[entry])
    return np.bincount(columns.indices[entry], weights=smaller, minlength=columns.shape[0])
