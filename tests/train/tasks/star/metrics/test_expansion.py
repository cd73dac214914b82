"""Expanded queries: by hand, and against plain NumPy loops in float64."""

import numpy as np
import pytest
import torch

from tarpon.train.tasks.star.metrics.embeddings import GALLERY, QUERY, EmbeddingRows, search_split
from tarpon.train.tasks.star.metrics.expansion import VALUE_BYTES, expand, search_expanded
from tarpon.train.tasks.star.metrics.retrieval import PAIR_BYTES, search
from tarpon.train.tasks.star.metrics.search_options import Expansion, SearchOptions


def expand_by_loops(queries: np.ndarray, gallery: np.ndarray, exclude: np.ndarray, *, count: int, alpha: float) -> np.ndarray:
    """(Q, D) of unit length, one query after another, in float64."""
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries.astype(float), gallery.astype(float))]
    out = []
    for query, own in zip(unit[0], exclude, strict=True):
        cosines = [(float(query @ item), place) for place, item in enumerate(unit[1]) if place != own]
        total = query.copy()
        for cosine, place in sorted(cosines, key=lambda pair: (-pair[0], pair[1]))[:count]:
            total += max(cosine, 0) ** alpha * unit[1][place]
        out.append(total / np.linalg.norm(total))
    return np.array(out)


def test_by_hand():
    """The nearest of (1, 0) is (0.6, 0.8) at cosine 0.6; squared it weighs 0.36: (1.216, 0.288). The second adds nothing."""
    query, gallery = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0], [3.0, 4.0], [-1.0, 0.0]])
    got = expand(query, gallery, expansion=Expansion(count=1, alpha=2.0))
    torch.testing.assert_close(got, torch.tensor([[1.216, 0.288]]))
    torch.testing.assert_close(expand(query, gallery, expansion=Expansion(count=2, alpha=2.0)), got)
    whole = expand(
        query, gallery, expansion=Expansion(count=50, alpha=2.0)
    )  # more than there are; what points away adds nothing
    torch.testing.assert_close(whole, got)
    torch.testing.assert_close(expand(query, gallery, expansion=Expansion(count=1, alpha=1.0)), torch.tensor([[1.36, 0.48]]))


@pytest.mark.parametrize(("count", "alpha"), [(1, 3.0), (4, 1.0), (7, 0.5), (500, 3.0)])
def test_equals_the_loops_in_strips_of_any_size(count, alpha):
    rng = np.random.default_rng(count)
    gallery = rng.normal(size=(40, 6)).astype(np.float32)
    queries = np.concatenate([gallery[:9], rng.normal(size=(8, 6)).astype(np.float32)])
    exclude = np.r_[np.arange(9), np.full(8, -1)]  # nine are themselves in the gallery
    want = expand_by_loops(queries, gallery, exclude, count=count, alpha=alpha)
    for strip_bytes in (1, VALUE_BYTES * 6 * 3 * (count + 1), 2**24):
        got = expand(
            torch.from_numpy(queries),
            torch.from_numpy(gallery),
            exclude=exclude,
            expansion=Expansion(count=count, alpha=alpha),
            strip_bytes=strip_bytes,
        )
        np.testing.assert_allclose(torch.nn.functional.normalize(got).numpy(), want, atol=1e-6)


def test_a_photograph_does_not_expand_itself_and_is_not_found():
    """The only other photograph of the animal lies beside a stranger; with itself as neighbour nothing would move."""
    gallery = torch.eye(4)[[0, 0, 1]] + torch.tensor([0.0, 0.5, 0.0])[:, None] * torch.eye(4)[[1, 1, 1]]
    got = search_expanded(
        gallery,
        gallery,
        query_labels=np.array([7, 7, 8]),
        gallery_labels=np.array([7, 7, 8]),
        exclude=np.arange(3),
        expansion=Expansion(count=1, alpha=0.0),
    )
    assert got.candidates.tolist() == [2, 2, 2]
    assert got.nearest[:, :2].tolist() == [[1, 2], [0, 2], [1, 0]]
    moved = expand(gallery, gallery, exclude=np.arange(3), expansion=Expansion(count=1, alpha=0.0))
    torch.testing.assert_close(moved[0], gallery[0] + gallery[1] / gallery[1].norm())


def test_it_finds_what_plain_search_misses_by_way_of_a_neighbour():
    """At 0, 30, 62 degrees the animal's photographs, at -45 another's: the last is only near by way of the one between."""
    angle = np.radians([30.0, 62.0, -45.0])
    gallery = torch.tensor(np.stack([np.cos(angle), np.sin(angle)], 1), dtype=torch.float32)
    named = {"query_labels": np.array([0]), "gallery_labels": np.array([0, 0, 1])}
    query = torch.tensor([[1.0, 0.0]])
    plain = search(query, gallery, **named)
    better = search_expanded(query, gallery, **named, expansion=Expansion(count=1, alpha=1.0))
    assert plain.average_precision[0] == pytest.approx((1 + 2 / 3) / 2)
    assert better.average_precision[0] == 1


def test_a_split_has_it_beside_plain_search_and_only_when_asked():
    rng = np.random.default_rng(0)
    role = np.where(np.arange(30) % 3 == 0, QUERY, GALLERY).astype(np.int8)
    words = {name: np.array([f"{name}{i % 5}" for i in range(30)]) for name in ("key", "identity", "outing")}
    rows = EmbeddingRows(
        protocol="p", row=np.arange(30), role=role, dataset=np.repeat(["a", "b"], 15), **words,
        embedding=rng.normal(size=(30, 4)).astype(np.float32),
    )  # fmt: skip
    plain = search_split(rows, SearchOptions())
    assert plain.expanded is None
    both = search_split(rows, SearchOptions(expansion=Expansion(count=2), strip_bytes=PAIR_BYTES))
    assert list(both.variants()) == ["plain", "expanded"]
    np.testing.assert_array_equal(both.plain.nearest, plain.plain.nearest)
    apart = search_split(rows, SearchOptions(expansion=Expansion(count=2), within_dataset=True))
    gallery = rows.dataset[apart.gallery]
    for found, own in zip(apart.expanded.nearest, rows.dataset[apart.query], strict=True):
        assert set(gallery[found[found >= 0]]) == {own}


@pytest.mark.parametrize("change", [{"count": 0}, {"count": -2}, {"alpha": -0.1}])
def test_settings_are_checked(change):
    with pytest.raises(ValueError, match="0 for no expansion"):
        Expansion(**change)
