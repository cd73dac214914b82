"""The first K of a search in the order of shared local features, everything else as it was."""

import numpy as np
import pytest
import torch

from tarpon.train.tasks.star.metrics import local_search
from tarpon.train.tasks.star.metrics.embeddings import (
    GALLERY,
    QUERY,
    EmbeddingRows,
    load_embeddings,
    save_embeddings,
    search_split,
)
from tarpon.train.tasks.star.metrics.local_search import LocalRescorer, rank_by_local_features
from tarpon.train.tasks.star.metrics.retrieval import search
from tarpon.train.tasks.star.metrics.search_options import SearchOptions


class Counting:
    """A matcher whose pictures are numbers and whose shared features a table tells; it counts how often it describes."""

    def __init__(self, table: np.ndarray) -> None:
        self.table, self.described = table, []

    def describe(self, picture: bytes) -> int:
        self.described.append(int(picture))
        return int(picture)

    def count_matches(self, first: int, second: int) -> int:
        return int(self.table[first, second])


@pytest.fixture
def rescorer(monkeypatch):
    """table -> (rescorer over rows that are their own pictures, its matcher)."""

    def make(table: np.ndarray) -> tuple[LocalRescorer, Counting]:
        matcher = Counting(table)
        monkeypatch.setattr(local_search, "SiftMatcher", lambda: matcher)
        return LocalRescorer(lambda row: str(row).encode()), matcher

    return make


def test_by_hand():
    """Plain order 0 1 2 3 4; of the first three 2 shares most, 0 and 1 nothing: 2 0 1, then 3 4 as they were."""
    gallery = torch.tensor([[1.0, 0.1 * i] for i in range(5)])
    named = {"query_labels": np.array([1]), "gallery_labels": np.array([0, 0, 1, 1, 0])}
    plain = search(torch.tensor([[1.0, 0.0]]), gallery, **named)
    assert plain.nearest[0, :5].tolist() == [0, 1, 2, 3, 4]
    got = rank_by_local_features(
        torch.tensor([[1.0, 0.0]]), gallery, nearest=plain.nearest[:, :3], shared=np.array([[0, 0, 9]]), **named
    )
    assert got.nearest[0, :5].tolist() == [2, 0, 1, 3, 4]
    assert got.average_precision[0] == pytest.approx((1 + 2 / 4) / 2)
    assert plain.average_precision[0] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert got.similarity[0, 0] == pytest.approx(2 + 18 + plain.similarity[0, 2], abs=1e-5)


def test_equals_a_stable_sort_of_the_first_k():
    rng = np.random.default_rng(0)
    queries, gallery = (torch.tensor(rng.normal(size=(count, 5)), dtype=torch.float32) for count in (12, 30))
    named = {"query_labels": np.arange(12) % 4, "gallery_labels": np.arange(30) % 4}
    exclude = np.where(np.arange(12) % 2, np.arange(12), -1)
    plain = search(queries, gallery, exclude=exclude, top=30, **named)
    nearest, shared = plain.nearest[:, :8], rng.integers(0, 3, (12, 8))
    got = rank_by_local_features(queries, gallery, nearest=nearest, shared=shared, exclude=exclude, top=30, **named)
    for row in range(12):
        first = nearest[row][np.argsort(-shared[row], kind="stable")]
        assert got.nearest[row].tolist() == [*first, *plain.nearest[row, 8:]]
    np.testing.assert_array_equal(got.matches, plain.matches)


def test_candidates_past_the_end_of_a_small_gallery_are_none():
    gallery, named = torch.eye(3), {"query_labels": np.zeros(1, int), "gallery_labels": np.arange(3)}
    plain = search(torch.ones(1, 3), gallery, top=5, **named)
    got = rank_by_local_features(
        torch.ones(1, 3), gallery, nearest=plain.nearest, shared=np.array([[0, 0, 4, 0, 0]]), top=5, **named
    )
    assert got.nearest[0].tolist() == [2, 0, 1, -1, -1]


def test_pictures_are_described_once_and_the_seconds_are_told(rescorer, capsys, monkeypatch):
    made, matcher = rescorer(np.arange(36).reshape(6, 6))
    shared = made.count(np.array([0, 1]), np.array([[2, 3, -1], [3, 2, 4]]))
    assert shared.tolist() == [[2, 3, 0], [9, 8, 10]]
    assert matcher.described == [0, 2, 3, 1, 4]
    assert "5 pairs of photographs compared by local features in" in capsys.readouterr().err
    assert made.seconds > 0
    monkeypatch.setattr(local_search, "HELD", 5)
    made.count(np.array([0]), np.array([[5, 0, 1]]))
    assert matcher.described[5:] == [5, 1]  # 0 was held; 1, not looked at for longest, made room for 5


def test_a_split_keeps_what_was_compared_and_is_searched_alike_from_its_file(rescorer, tmp_path):
    rng = np.random.default_rng(1)
    role = np.where(np.arange(20) % 4 == 0, QUERY, GALLERY).astype(np.int8)
    words = {name: np.array([f"{name}{i % 3}" for i in range(20)]) for name in ("key", "identity", "outing", "dataset")}
    rows = EmbeddingRows(
        protocol="p", row=3 * np.arange(20), role=role, **words, embedding=rng.normal(size=(20, 4)).astype(np.float32)
    )
    made, _ = rescorer(rng.integers(0, 50, (60, 60)))
    options = SearchOptions(local=5)
    found = search_split(rows, options, rescorer=made)
    assert list(found.variants()) == ["plain", "local"]
    asked = found.rows.candidates[found.query]
    np.testing.assert_array_equal(asked, found.rows.row[found.gallery][found.plain.nearest[:, :5]])
    assert (found.rows.candidates[found.gallery] == -1).all()
    best = np.take_along_axis(asked, found.rows.shared[found.query].argmax(1)[:, None], 1)[:, 0]
    np.testing.assert_array_equal(found.rows.row[found.gallery][found.local.nearest[:, 0]], best)
    save_embeddings(tmp_path / "a.parquet", found.rows)
    again = search_split(load_embeddings(tmp_path / "a.parquet"), options)  # no pictures at hand
    np.testing.assert_array_equal(again.local.nearest, found.local.nearest)
    np.testing.assert_array_equal(again.local.average_precision, found.local.average_precision)
    assert search_split(rows, options).local is None
