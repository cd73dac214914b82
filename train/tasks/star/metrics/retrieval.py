"""Ranks of a query's own identity in a gallery ordered by similarity, without ever holding all pairs.

Q queries, G gallery items, D values of an embedding, n queries of one strip, M most matches of any query in it, K shown.

A strip is a few queries against the whole gallery. It is computed once: order, counts and best values are all read from the
same numbers, since a product of other shape may round the same pair otherwise. In a strip every pair becomes one whole number,
similarity first and index in the gallery second, so that no two are equal and every order is that of a stable sort.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tarpon.train.tasks.star.metrics.search_options import STRIP_BYTES

PAIR_BYTES = 40  # of it, a pair: similarity 4, key 8, its bin 4 + 8, and what making a key takes for a moment
NOTHING = torch.iinfo(torch.int64).min  # key of what is not to be found; below that of any similarity

Strip = Callable[[int, int], Tensor]  # (first query, one past the last) -> (n, G) float32 similarity, newly allocated


@dataclass(frozen=True, kw_only=True, eq=False)
class Retrieval:
    """What a search found, query by query. Ranks count from 1 at the most similar; ties go to the lower gallery index."""

    matches: np.ndarray  # (Q,) int64 gallery items of the query's identity; a query with none cannot be scored
    candidates: np.ndarray  # (Q,) int64 gallery items it was compared with
    first_rank: np.ndarray  # (Q,) int64 of the most similar match; 0 without any
    worst_rank: np.ndarray  # (Q,) int64 of the least similar match; 0 without any
    average_precision: np.ndarray  # (Q,) mean over the matches of the precision at their ranks; NaN without any
    average_precision_at_r: np.ndarray  # (Q,) the same within the first `matches` ranks (Musgrave et al. 2020); NaN
    inverse_negative_penalty: np.ndarray  # (Q,) matches / worst_rank, whose mean is mINP (Ye et al., TPAMI 2021); NaN
    best_own: np.ndarray  # (Q,) float32 highest similarity to the own identity; NaN without any
    best_other: np.ndarray  # (Q,) float32 highest similarity to any other; NaN without any
    nearest: np.ndarray  # (Q, K) int64 gallery indices, most similar first; -1 past the end of the gallery
    similarity: np.ndarray  # (Q, K) float32 of those; NaN past the end

    def __len__(self) -> int:
        return len(self.matches)

    @property
    def valid(self) -> np.ndarray:
        """(Q,) bool: has a match."""
        return self.matches > 0

    @property
    def best(self) -> np.ndarray:
        """(Q,) float32 highest similarity to anything."""
        return np.fmax(self.best_own, self.best_other)

    def hit(self, k: int) -> np.ndarray:
        """(Q,) bool: a match is among the first k."""
        return self.valid & (self.first_rank <= k)

    def take(self, queries: np.ndarray) -> "Retrieval":
        """Some of the queries: (n,) int64 or (Q,) bool."""
        return Retrieval(**{field.name: getattr(self, field.name)[queries] for field in fields(self)})


def search(
    queries: Tensor,
    gallery: Tensor,
    *,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    exclude: np.ndarray | None = None,
    top: int = 20,
    strip_bytes: int = STRIP_BYTES,
    device: torch.device | str = "cpu",
) -> Retrieval:
    """Rank the gallery for every query by cosine similarity, in O(G) memory beside the embeddings.

    Args:
        queries: (Q, D), any float dtype, any device, not normalised. gallery: (G, D).
        query_labels, gallery_labels: (Q,), (G,) identities, whole numbers or str.
        exclude: (Q,) index of the query itself in the gallery, which is left out for it; -1 where it has none.
        top: nearest items kept a query.
        strip_bytes: working memory.
        device: where it is computed; the gallery goes there whole, as float32.

    Raises:
        ValueError: shapes that do not fit, nothing to search, or values that are not finite.
    """
    strip = cosine_strips(queries, gallery, device=device)
    return rank_gallery(
        strip,
        query_labels=query_labels,
        gallery_labels=gallery_labels,
        exclude=exclude,
        top=top,
        strip_bytes=strip_bytes,
        device=device,
    )


def search_within_groups(
    method: Callable[..., Retrieval],
    queries: Tensor,
    gallery: Tensor,
    *,
    query_groups: np.ndarray,
    gallery_groups: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    exclude: np.ndarray | None = None,
    top: int = 20,
) -> Retrieval:
    """`method` (`search` or one with its arguments), each query among the gallery items of its own group (data set) alone.

    `nearest` still counts in the whole gallery. A query whose group has no gallery item has neither match nor candidate.
    """
    exclude = np.full(len(query_labels), -1) if exclude is None else np.asarray(exclude)
    found = _empty(len(query_labels), top=top)
    for group in np.unique(query_groups):
        own, there = np.flatnonzero(query_groups == group), np.flatnonzero(gallery_groups == group)
        if not len(there):
            continue
        at = np.searchsorted(there, exclude[own]).clip(max=len(there) - 1)
        part = method(
            queries[torch.as_tensor(own, device=queries.device)],
            gallery[torch.as_tensor(there, device=gallery.device)],
            query_labels=query_labels[own],
            gallery_labels=gallery_labels[there],
            exclude=np.where(there[at] == exclude[own], at, -1),
            top=top,
        )
        for name, whole in found.items():
            value = getattr(part, name)
            whole[own] = np.where(value >= 0, there[value], -1) if name == "nearest" else value
    return Retrieval(**found)


def cosine_strips(queries: Tensor, gallery: Tensor, *, device: torch.device | str = "cpu") -> Strip:
    """Cosine similarity of some queries (Q, D) to the whole gallery (G, D). ValueError where the two do not fit."""
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries (Q, D) and gallery (G, D) are needed, got {tuple(queries.shape)}, {tuple(gallery.shape)}")
    for name, values in (("queries", queries), ("gallery", gallery)):
        if not torch.isfinite(values.sum(dtype=torch.float64)):  # without a (G, D) mask
            raise ValueError(f"embeddings of the {name} are not all finite; the model has diverged, lower --optim.lr")
    unit = F.normalize(gallery.to(device, torch.float32))

    def strip(low: int, high: int) -> Tensor:
        return F.normalize(queries[low:high].to(device, torch.float32)) @ unit.T

    return strip


@torch.no_grad()
def rank_gallery(
    strip: Strip,
    *,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    exclude: np.ndarray | None = None,
    top: int = 20,
    strip_bytes: int = STRIP_BYTES,
    device: torch.device | str = "cpu",
) -> Retrieval:
    """`search` over similarities of any kind, given a strip at a time; higher is nearer."""
    num_queries, num_gallery = len(query_labels), len(gallery_labels)
    if not num_queries or not num_gallery:
        raise ValueError(f"{num_queries} queries and {num_gallery} gallery items; a search needs one of each")
    own = find_own_items(query_labels, gallery_labels, device=device)
    left_out = torch.as_tensor(np.full(num_queries, -1) if exclude is None else np.asarray(exclude), device=device).long()
    if left_out.shape != (num_queries,) or int(left_out.max()) >= num_gallery:
        raise ValueError(f"exclude must be one place in the gallery (0 to {num_gallery - 1}) or -1 for each of {num_queries}")
    found = _empty(num_queries, top=top)
    for low, high in cut_strips(num_queries, num_gallery, strip_bytes):
        values = strip(low, high)
        keys = make_keys(values)
        rows = torch.nonzero(left_out[low:high] >= 0)[:, 0]
        keys[rows, left_out[low:high][rows]] = NOTHING
        for name, value in _read_strip(values, keys, own(low, high), top=top).items():
            into = found[name][low:high]
            into[..., : value.shape[-1]] = value.cpu().numpy()
    found["candidates"][:] = num_gallery - (left_out >= 0).cpu().numpy()
    return Retrieval(**found)


@torch.no_grad()
def nearest_neighbours(
    strip: Strip, *, num_queries: int, num_gallery: int, count: int, strip_bytes: int = STRIP_BYTES
) -> np.ndarray:
    """(num_queries, min(count, num_gallery)) int64 gallery indices, most similar first, ties to the lower index."""
    count = min(count, num_gallery)
    nearest = np.empty((num_queries, count), np.int64)
    for low, high in cut_strips(num_queries, num_gallery, strip_bytes):
        keys = make_keys(strip(low, high))
        nearest[low:high] = find_items(keys.topk(count, 1).values, num_gallery).cpu().numpy()
    return nearest


def cut_strips(num_queries: int, num_gallery: int, strip_bytes: int) -> list[tuple[int, int]]:
    """(first query, one past the last) of strips that fit into so many bytes."""
    step = max(1, strip_bytes // (PAIR_BYTES * num_gallery))
    return [(low, min(low + step, num_queries)) for low in range(0, num_queries, step)]


def _empty(num_queries: int, *, top: int) -> dict[str, np.ndarray]:
    """Fields of a Retrieval in which nothing was found yet."""
    shares = ("average_precision", "average_precision_at_r", "inverse_negative_penalty")
    return {
        **{name: np.zeros(num_queries, np.int64) for name in ("matches", "candidates", "first_rank", "worst_rank")},
        **{name: np.full(num_queries, np.nan) for name in shares},
        **{name: np.full(num_queries, np.nan, np.float32) for name in ("best_own", "best_other")},
        "nearest": np.full((num_queries, top), -1, np.int64),
        "similarity": np.full((num_queries, top), np.nan, np.float32),
    }


def find_own_items(
    query_labels: np.ndarray, gallery_labels: np.ndarray, *, device: torch.device | str
) -> Callable[[int, int], tuple[Tensor, Tensor]]:
    """(low, high) -> (n, M) int64 gallery items of each query's identity, and (n, M) bool which of these are there."""
    order = np.argsort(gallery_labels, kind="stable")
    ordered = np.asarray(gallery_labels)[order]
    begin = torch.as_tensor(np.searchsorted(ordered, query_labels, "left"), device=device)
    end = torch.as_tensor(np.searchsorted(ordered, query_labels, "right"), device=device)
    items = torch.as_tensor(order, device=device)

    def own(low: int, high: int) -> tuple[Tensor, Tensor]:
        most = max(int((end[low:high] - begin[low:high]).max()), 1)
        at = begin[low:high, None] + torch.arange(most, device=items.device)
        return items[at.clamp(max=len(items) - 1)], at < end[low:high, None]

    return own


def make_keys(values: Tensor, *, after: int = 0) -> Tensor:
    """(n, G) float32 -> int64 that order as the values do, and equal values by falling index. `values` is changed in place:
    -0 becomes 0, which a sort takes for equal. after: items of the gallery behind these, which are a part of it."""
    bits = values.add_(0.0).view(torch.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # negative floats order against their bits
    keys = ordered.long().bitwise_left_shift_(32)
    return keys.add_(torch.arange(after + values.shape[1] - 1, after - 1, -1, device=values.device))


def find_items(keys: Tensor, num_gallery: int) -> Tensor:
    """Gallery indices of keys; -1 of NOTHING."""
    return torch.where(keys == NOTHING, -1, num_gallery - 1 - (keys & 0xFFFFFFFF))


def _read_strip(values: Tensor, keys: Tensor, own: tuple[Tensor, Tensor], *, top: int) -> dict[str, Tensor]:
    """Fields of a Retrieval, of a strip's similarities and their keys (n, G); the keys are used up."""
    items, there = own
    nearest = keys.topk(min(top, keys.shape[1]), 1).values
    match_keys = torch.where(there, keys.gather(1, items), NOTHING).sort(1).values  # ascending, so what is not there is first
    ranks = _ranks(keys, match_keys).flip(1)  # (n, M) ascending, what is not there last
    matches = (match_keys != NOTHING).sum(1)
    rows, columns = torch.nonzero(there, as_tuple=True)
    keys[rows, items[rows, columns]] = NOTHING
    others = keys.amax(1, keepdim=True)
    return {
        "matches": matches,
        **score_ranks(ranks, matches),
        "best_own": _similarity(values, match_keys[:, -1:])[:, 0],
        "best_other": _similarity(values, others)[:, 0],
        "nearest": find_items(nearest, values.shape[1]),
        "similarity": _similarity(values, nearest),
    }


def _ranks(keys: Tensor, match_keys: Tensor) -> Tensor:
    """(n, G) keys, (n, M) keys of matches, ascending -> (n, M) int64 ranks of those: how many keys are higher, and 1."""
    below = torch.searchsorted(match_keys, keys, out_int32=True).long()  # how many matches are lower than each item
    count = torch.zeros(len(keys), match_keys.shape[1] + 1, dtype=torch.int64, device=keys.device)
    count.scatter_add_(1, below, torch.ones_like(below[:, :1]).expand_as(below))
    return count.flip(1).cumsum(1).flip(1)[:, 1:] + 1


def score_ranks(ranks: Tensor, matches: Tensor) -> dict[str, Tensor]:
    """Of ranks (n, M) ascending, of which the first `matches` (n,) count."""
    position = torch.arange(1, ranks.shape[1] + 1, device=ranks.device)
    counted = position <= matches[:, None]
    precision = torch.where(counted, position / ranks.double(), 0.0)
    worst = ranks.gather(1, (matches[:, None] - 1).clamp(min=0))[:, 0]
    some = matches > 0
    return {
        "first_rank": torch.where(some, ranks[:, 0], 0),
        "worst_rank": torch.where(some, worst, 0),
        "average_precision": precision.sum(1) / matches,  # 0 / 0 is the NaN that is promised
        "average_precision_at_r": torch.where(ranks <= matches[:, None], precision, 0.0).sum(1) / matches,
        "inverse_negative_penalty": torch.where(some, matches / worst.double(), torch.nan),
    }


def _similarity(values: Tensor, keys: Tensor) -> Tensor:
    """Similarity of keys (n, k); NaN of NOTHING."""
    index = find_items(keys, values.shape[1])
    return torch.where(index >= 0, values.gather(1, index.clamp(min=0)), torch.nan)
