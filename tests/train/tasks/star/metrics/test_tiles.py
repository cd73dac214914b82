"""A search by tiles of the gallery against the search that holds it whole."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from tarpon.train.tasks.star.metrics.retrieval import Retrieval, search, search_within_groups
from tarpon.train.tasks.star.metrics.tiles import search_tiles

SHOWN = ("nearest", "similarity")  # what a search by tiles does not tell


def tiles_of(gallery: torch.Tensor, size: int):
    return lambda: ((first, gallery[first : first + size]) for first in range(0, len(gallery), size))


def make(seed: int, *, queries: int = 70, gallery: int = 90, exact: bool = False):
    """Embeddings, labels and groups; some queries are in the gallery. exact: along axes, so that all products are whole and
    most pairs are ties."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(gallery + queries, 8)).astype(np.float32)
    if exact:
        vectors = np.eye(8, dtype=np.float32)[rng.integers(8, size=len(vectors))] * rng.choice([-1, 1], (len(vectors), 1))
    labels = np.array([f"animal{n}" for n in rng.integers(0, 12, len(vectors))])
    groups = np.array(["a", "b"])[rng.integers(0, 2, len(vectors))]
    inside = np.where(np.arange(queries) % 3 == 0, np.arange(queries), -1)
    at = np.where(inside >= 0, inside, gallery + np.arange(queries))
    told = {"query_labels": labels[at], "gallery_labels": labels[:gallery], "exclude": inside}
    apart = {"query_groups": groups[at], "gallery_groups": groups[:gallery]}
    return torch.from_numpy(vectors[at].astype(np.float32)), torch.from_numpy(vectors[:gallery].astype(np.float32)), told, apart


def check(found: Retrieval, want: Retrieval) -> None:
    for field in fields(Retrieval):
        if field.name in SHOWN:
            assert getattr(found, field.name).shape == (len(want), 0)
        else:
            got, right = getattr(found, field.name), getattr(want, field.name)
            assert got.dtype == right.dtype
            off = {"i": 0, "f": 1e-6 if right.dtype == np.float32 else 1e-12}[right.dtype.kind]
            np.testing.assert_allclose(got, right, rtol=0, atol=off, err_msg=field.name)


@pytest.mark.parametrize(("size", "strip_bytes"), [(1, 2**20), (13, 2**11), (40, 2**13), (1000, 2**20)])
@pytest.mark.parametrize("exact", [False, True])
def test_every_query_is_scored_as_by_the_whole_gallery(size, exact, strip_bytes):
    queries, gallery, told, apart = make(size, exact=exact)
    check(search_tiles(queries, tiles_of(gallery, size), **told, strip_bytes=strip_bytes), search(queries, gallery, **told))
    found = search_tiles(queries, tiles_of(gallery, size), **told, **apart, strip_bytes=strip_bytes)
    check(found, search_within_groups(search, queries, gallery, **told, **apart))


def test_shares_of_the_queries_are_the_search_of_all():
    queries, gallery, told, _ = make(7)
    whole = search_tiles(queries, tiles_of(gallery, 40), **told)
    for own in np.array_split(np.arange(len(queries)), 3):
        part = {name: told[name][own] for name in ("query_labels", "exclude")} | {"gallery_labels": told["gallery_labels"]}
        check(search_tiles(queries[own], tiles_of(gallery, 40), **part), whole.take(own))


def test_a_group_without_gallery_has_no_candidates():
    queries, gallery, told, apart = make(1)
    apart["query_groups"] = np.where(np.arange(len(queries)) < 5, "none", apart["query_groups"])
    told["exclude"][:5] = -1
    found = search_tiles(queries, tiles_of(gallery, 40), **told, **apart)
    check(found, search_within_groups(search, queries, gallery, **told, **apart))
    assert (found.candidates[:5] == 0).all()
    assert not found.valid[:5].any()


def test_without_queries_the_tiles_are_passed_on_as_often():
    queries, gallery, told, _ = make(2)
    gone = []

    def tiles():
        gone.append(1)
        yield from tiles_of(gallery, 40)()

    nothing = {name: told[name][:0] for name in ("query_labels", "exclude")}
    assert len(search_tiles(queries[:0], tiles, **nothing, gallery_labels=told["gallery_labels"])) == 0
    assert len(gone) == 2
