"""A search that several processes share: each ranks the gallery for its own queries, and is handed the gallery tile by tile.

Q queries of this process, G gallery items of all, t of a tile, D values of an embedding, n queries of one strip, M most matches
of any query, K nearest. No process holds the gallery, and none the similarities of all queries.

The gallery is gone through twice: to find the similarity of each query's matches, then to count what is more similar. Both
times a pair is computed by a product of the same shape, for another could round it otherwise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tarpon.train.tasks.star.metrics.retrieval import (
    NOTHING,
    Retrieval,
    cut_strips,
    find_items,
    find_own_items,
    make_keys,
    score_ranks,
)
from tarpon.train.tasks.star.metrics.search_options import STRIP_BYTES

TILE = 8192  # gallery items passed on at once: 16 MiB of 512 values each
Tiles = Callable[[], Iterator[tuple[int, Tensor]]]  # a passage through the gallery: (first item of the tile, (t, D))


@torch.no_grad()
def search_tiles(
    queries: Tensor,
    tiles: Tiles,
    *,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    exclude: np.ndarray,
    query_groups: np.ndarray | None = None,
    gallery_groups: np.ndarray | None = None,
    lifts: tuple[np.ndarray, np.ndarray] | None = None,
    strip_bytes: int = STRIP_BYTES,
    device: torch.device | str = "cpu",
) -> Retrieval:
    """`retrieval.search`, or `search_within_groups` where there are groups, without the nearest items: their K is 0.

    Args:
        queries: (Q, D), Q may be 0: whoever passes tiles on has to go through them as often as the others.
        tiles: called twice; the whole gallery in order, with finite values.
        query_labels, query_groups, exclude: (Q,) of these queries. gallery_labels, gallery_groups: (G,) of the whole gallery.
        lifts: (Q, K) int64 gallery items, -1 for none, and (Q, K) float32 added to the similarity of each.
    """
    asked = _ask(queries, exclude, (query_groups, gallery_groups), num_gallery=len(gallery_labels), device=device)
    if lifts is not None:
        asked = replace(asked, lifts=tuple(torch.as_tensor(part, device=device) for part in lifts))
    items, there = torch.zeros(2, 0, 1, dtype=torch.int64, device=device)
    if len(queries):
        items, there = find_own_items(query_labels, gallery_labels, device=device)(0, len(queries))
    strips = partial(_compare, asked, tiles, strip_bytes=strip_bytes)
    match_keys, others = _find_matches(strips(), items, there.bool())
    ranks, matches = _rank_matches(strips(), match_keys), (match_keys != NOTHING).sum(1)
    found = {"matches": matches, "candidates": _count_candidates(asked), **score_ranks(ranks, matches)}
    found |= {"best_own": _similarity(match_keys[:, -1]), "best_other": _similarity(others)}
    return Retrieval(
        nearest=np.empty((len(queries), 0), np.int64),
        similarity=np.empty((len(queries), 0), np.float32),
        **{name: value.cpu().numpy() for name, value in found.items()},
    )


@torch.no_grad()
def find_nearest(
    queries: Tensor,
    tiles: Tiles,
    *,
    count: int,
    num_gallery: int,
    exclude: np.ndarray,
    query_groups: np.ndarray | None = None,
    gallery_groups: np.ndarray | None = None,
    strip_bytes: int = STRIP_BYTES,
    device: torch.device | str = "cpu",
) -> Tensor:
    """(Q, count) int64 gallery items, most similar first, ties to the lower; -1 past their end. Arguments as of `search_tiles`,
    but that `tiles` is called once."""
    asked = _ask(queries, exclude, (query_groups, gallery_groups), num_gallery=num_gallery, device=device)
    best = torch.full((len(queries), count), NOTHING, device=device)
    for _, some, keys in _compare(asked, tiles, strip_bytes=strip_bytes):
        nearest = keys.topk(min(count, keys.shape[1]), 1).values
        best[some] = torch.cat([best[some], nearest], 1).topk(count, 1).values
    return find_items(best, num_gallery)


@torch.no_grad()
def collect_items(items: Tensor, tiles: Tiles, *, width: int) -> Tensor:
    """(Q, K, width) float32 of length 1, of gallery items (Q, K); 0 where there is none. `tiles` is called once."""
    found = torch.zeros(*items.shape, width, device=items.device)
    for first, tile in tiles():
        at = items - first
        inside = (at >= 0) & (at < len(tile))  # -1, for none, is before every tile
        found[inside] = F.normalize(tile.to(items.device, torch.float32))[at[inside]]
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """Queries, and what is hidden from each."""

    unit: Tensor  # (Q, D) float32 of length 1
    left_out: Tensor  # (Q,) int64 place of the query itself in the gallery, or -1
    groups: tuple[Tensor, Tensor] | None  # (Q,), (G,) int64 of queries and gallery: only pairs of one group are compared
    num_gallery: int
    lifts: tuple[Tensor, Tensor] | None = None  # (Q, K) int64 items, -1 none; (Q, K) float32 added to their similarity


def _ask(
    queries: Tensor,
    exclude: np.ndarray,
    groups: tuple[np.ndarray | None, np.ndarray | None],
    *,
    num_gallery: int,
    device: torch.device | str,
) -> _Asked:
    return _Asked(
        unit=F.normalize(queries.to(device, torch.float32)),
        left_out=torch.as_tensor(exclude, device=device).long(),
        groups=None if groups[0] is None else _number_groups(*groups, device=device),
        num_gallery=num_gallery,
    )


def _compare(asked: _Asked, tiles: Tiles, *, strip_bytes: int) -> Iterator[tuple[int, slice, Tensor]]:
    """One passage: (first item of a tile, some queries, (n, t) keys of their pairs, NOTHING where they are not compared)."""
    for first, tile in tiles():
        columns = F.normalize(tile.to(asked.unit.device, torch.float32)).T
        end = first + columns.shape[1]
        for low, high in cut_strips(len(asked.unit), columns.shape[1], strip_bytes):
            values = asked.unit[low:high] @ columns
            if asked.lifts is not None:
                items, lift = (part[low:high] for part in asked.lifts)
                inside = (items >= first) & (items < end)
                values.scatter_add_(1, (items - first).clamp(0, values.shape[1] - 1), lift * inside)
            keys = make_keys(values, after=asked.num_gallery - end)
            own = asked.left_out[low:high]
            rows = torch.nonzero((own >= first) & (own < end))[:, 0]
            keys[rows, own[rows] - first] = NOTHING
            if asked.groups is not None:
                keys.masked_fill_(asked.groups[0][low:high, None] != asked.groups[1][first:end], NOTHING)
            yield first, slice(low, high), keys


def _find_matches(strips: Iterator[tuple[int, slice, Tensor]], items: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """(Q, M) keys of the matches, ascending, so that what is not there is first; (Q,) highest key of anything else.

    Args:
        items, there: (Q, M) gallery items of each query's identity, and which of these are any.
    """
    found = torch.full(items.shape, NOTHING, device=items.device)
    others = torch.full(items.shape[:1], NOTHING, device=items.device)
    for first, some, keys in strips:
        at = items[some] - first
        inside = there[some] & (at >= 0) & (at < keys.shape[1])
        found[some] = torch.where(inside, keys.gather(1, at.clamp(0, keys.shape[1] - 1)), found[some])
        rows, columns = torch.nonzero(inside, as_tuple=True)
        keys[rows, at[rows, columns]] = NOTHING
        others[some] = torch.maximum(others[some], keys.amax(1))
    return found.sort(1).values, others


def _rank_matches(strips: Iterator[tuple[int, slice, Tensor]], match_keys: Tensor) -> Tensor:
    """(Q, M) int64 ranks of matches, ascending, what is not there last: how many keys are higher, and 1."""
    count = torch.zeros(len(match_keys), match_keys.shape[1] + 1, dtype=torch.int64, device=match_keys.device)
    for _, some, keys in strips:
        below = torch.searchsorted(match_keys[some], keys)  # how many matches are lower than each item
        count[some].scatter_add_(1, below, torch.ones_like(below[:, :1]).expand_as(below))
    return count.flip(1).cumsum(1)[:, :-1] + 1


def _number_groups(*names: np.ndarray, device: torch.device | str) -> tuple[Tensor, ...]:
    known = np.unique(np.concatenate(names))
    return tuple(torch.as_tensor(np.searchsorted(known, own), device=device) for own in names)


def _similarity(keys: Tensor) -> Tensor:
    """float32 that keys were made of; NaN of NOTHING."""
    ordered = (keys >> 32).int()
    return torch.where(keys == NOTHING, torch.nan, (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32))


def _count_candidates(asked: _Asked) -> Tensor:
    """(Q,) int64 gallery items that each query is compared with."""
    itself = asked.left_out >= 0
    if asked.groups is None:
        return asked.num_gallery - itself.long()
    own, others = asked.groups
    sizes = torch.bincount(others, minlength=int(own.max()) + 1 if len(own) else 0)
    return sizes[own] - (itself & (others[asked.left_out.clamp(min=0)] == own)).long()
