"""Re-ranking in chunks equals the published steps written out with dense matrices and loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tarpon.train.tasks.star.metrics import rerank as module
from tarpon.train.tasks.star.metrics.rerank import rerank
from tarpon.train.tasks.star.metrics.retrieval import PAIR_BYTES, search, search_within_groups
from tarpon.train.tasks.star.metrics.search_options import Reranking


def dense(nodes: np.ndarray, queries: np.ndarray, num_gallery: int, *, k1: int, k2: int, share: float) -> np.ndarray:
    """(Q, G) final distance, as the paper's own program goes about it: all pairs, one node after another, in float64."""
    plain = 1 - nodes @ nodes.T
    order = np.argsort(plain, 1, kind="stable")
    half = int(np.around(k1 / 2))

    def mutual(node: int, k: int) -> np.ndarray:
        forward = order[node, : k + 1]
        return forward[(order[forward, : k + 1] == node).any(1)]

    own = np.zeros_like(plain)
    for node in range(len(nodes)):
        base = mutual(node, k1)
        wide = base
        for other in base:
            circle = mutual(other, half)
            if len(np.intersect1d(circle, base)) > 2 / 3 * len(circle):
                wide = np.append(wide, circle)
        wide = np.unique(wide)
        weight = np.exp(-plain[node, wide])
        own[node, wide] = weight / weight.sum()
    if k2 != 1:
        own = np.stack([own[order[node, :k2]].mean(0) for node in range(len(nodes))])
    final = np.empty((len(queries), num_gallery))
    for i, node in enumerate(queries):
        for j in range(num_gallery):
            shared = np.minimum(own[node], own[j]).sum()
            final[i, j] = share * plain[node, j] + (1 - share) * (1 - shared / (2 - shared))
    return final


def clustered(seed: int, rows: int, *, animals: int = 9, dim: int = 12) -> tuple[torch.Tensor, np.ndarray]:
    made = torch.Generator().manual_seed(seed)
    labels = np.arange(rows) % animals
    centres = torch.randn(animals, dim, generator=made)
    return centres[labels] + 0.9 * torch.randn(rows, dim, generator=made), labels


@pytest.mark.parametrize("settings", [(20, 6, 0.3), (7, 1, 0.3), (5, 3, 0.0), (4, 2, 1.0), (200, 300, 0.3)])
def test_equals_the_dense_loops(settings, monkeypatch):
    k1, k2, share = settings
    monkeypatch.setattr(module, "ROWS", 17)
    monkeypatch.setattr(module, "PAIRS", 50)
    embedding, labels = clustered(k1, 110)
    unit = F.normalize(embedding).double().numpy()
    want = dense(np.concatenate([unit[40:], unit[:40]]), np.arange(70, 110), 70, k1=k1, k2=k2, share=share)
    named = {"query_labels": labels[:40], "gallery_labels": labels[40:], "top": 70}
    named["reranking"] = Reranking(k1=k1, k2=k2, share=share)
    for rows in (1, 9, 200):
        got = rerank(embedding[:40], embedding[40:], **named, strip_bytes=rows * PAIR_BYTES * 110)
        given = np.empty((40, 70))
        np.put_along_axis(given, got.nearest, 1 - got.similarity, 1)
        np.testing.assert_allclose(given, want, atol=1e-5)
        for i in range(40):
            ranks = np.flatnonzero((labels[40:] == labels[i])[got.nearest[i]]) + 1
            assert got.average_precision[i] == pytest.approx((np.arange(1, len(ranks) + 1) / ranks).mean())


def test_with_only_the_plain_distance_the_order_is_that_of_search():
    embedding, labels = clustered(0, 120)
    named = {"query_labels": labels[:50], "gallery_labels": labels[50:]}
    plain = search(embedding[:50], embedding[50:], **named)
    got = rerank(embedding[:50], embedding[50:], **named, reranking=Reranking(share=1.0))
    np.testing.assert_array_equal(got.nearest, plain.nearest)
    np.testing.assert_allclose(got.best_own, plain.best_own, atol=1e-6)


def test_it_finds_what_plain_search_misses():
    """Two animals, each photographed along a path; the nearest photographs of a path's end belong to the other animal."""
    embedding, labels = clustered(5, 300, animals=12, dim=8)
    named = {"query_labels": labels[:100], "gallery_labels": labels[100:]}
    plain, better = (way(embedding[:100], embedding[100:], **named) for way in (search, rerank))
    assert better.average_precision.mean() > plain.average_precision.mean() + 0.02


def test_a_query_that_is_in_the_gallery_is_one_node_and_does_not_find_itself():
    embedding, labels = clustered(2, 80)
    exclude = np.arange(80)
    got = rerank(embedding, embedding, query_labels=labels, gallery_labels=labels, exclude=exclude, top=79)
    assert not (got.nearest == exclude[:, None]).any()
    assert set(got.candidates) == {79}
    unit = F.normalize(embedding).double().numpy()
    want = dense(unit, exclude, 80, k1=20, k2=6, share=0.3)
    np.testing.assert_allclose(1 - got.similarity, np.take_along_axis(want, got.nearest, 1), atol=1e-5)
    half = np.where(exclude < 30, exclude, -1)[:60]  # some are in the gallery of 50, some are not
    mixed = rerank(
        embedding[:60], embedding[:50], query_labels=labels[:60], gallery_labels=labels[:50], exclude=half.clip(max=49)
    )
    assert mixed.candidates.tolist() == [49] * 30 + [50] * 30


def test_within_data_sets_neighbours_come_from_the_same_one():
    embedding, labels = clustered(3, 120)
    group = np.arange(120) // 60
    queries, gallery = np.arange(0, 120, 3), np.setdiff1d(np.arange(120), np.arange(0, 120, 3))
    got = search_within_groups(
        rerank,
        embedding[queries],
        embedding[gallery],
        query_groups=group[queries],
        gallery_groups=group[gallery],
        query_labels=labels[queries],
        gallery_labels=labels[gallery],
    )
    own, there = queries[queries < 60], gallery[gallery < 60]
    want = rerank(embedding[own], embedding[there], query_labels=labels[own], gallery_labels=labels[there])
    np.testing.assert_array_equal(got.first_rank[: len(own)], want.first_rank)
    np.testing.assert_array_equal(gallery[got.nearest[: len(own)]], there[want.nearest])


@pytest.mark.parametrize("change", [{"k1": 0}, {"k2": 0}, {"share": 1.1}, {"share": -0.1}])
def test_settings_are_checked(change):
    with pytest.raises(ValueError, match="must be 1 or more"):
        Reranking(**change)
