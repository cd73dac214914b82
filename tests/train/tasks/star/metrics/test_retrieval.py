"""Ranks, precisions and neighbours against a plain full sort, scikit-learn and pytorch-metric-learning."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from sklearn.metrics import average_precision_score

from tarpon.train.tasks.star.metrics.retrieval import (
    PAIR_BYTES,
    Retrieval,
    cosine_strips,
    nearest_neighbours,
    rank_gallery,
    search,
    search_within_groups,
)


def naive(similarity: np.ndarray, query_labels, gallery_labels, exclude=None) -> dict[str, list]:
    """Every query by itself, by a stable sort of the whole gallery."""
    found: dict[str, list] = {}
    for i, label in enumerate(query_labels):
        order = np.argsort(-similarity[i], kind="stable")
        if exclude is not None and exclude[i] >= 0:
            order = order[order != exclude[i]]
        own = np.asarray(gallery_labels)[order] == label
        ranks = np.flatnonzero(own) + 1
        precision = np.arange(1, len(ranks) + 1) / ranks
        R, given = len(ranks), similarity[i, order]
        record = {
            "matches": R,
            "candidates": len(order),
            "first_rank": ranks[0] if R else 0,
            "worst_rank": ranks[-1] if R else 0,
            "average_precision": precision.mean() if R else np.nan,
            "average_precision_at_r": precision[ranks <= R].sum() / R if R else np.nan,
            "inverse_negative_penalty": R / ranks[-1] if R else np.nan,
            "best_own": given[own].max() if R else np.nan,
            "best_other": given[~own].max() if (~own).any() else np.nan,
            "nearest": order,
        }
        for name, value in record.items():
            found.setdefault(name, []).append(value)
    return found


def agree(got: Retrieval, want: dict[str, list], *, approx: tuple[str, ...] = ()) -> None:
    for name, values in want.items():
        if name == "nearest":
            for row, order in zip(got.nearest, values, strict=True):
                kept = min(len(order), len(row))
                np.testing.assert_array_equal(row[:kept], order[:kept])
                assert (row[kept:] == -1).all()
        elif name in approx:
            np.testing.assert_allclose(getattr(got, name), values, atol=1e-6)
        elif name.startswith(("average", "inverse")):
            np.testing.assert_allclose(getattr(got, name), values, rtol=1e-12)
        else:
            np.testing.assert_array_equal(getattr(got, name), np.array(values, getattr(got, name).dtype), err_msg=name)


def coarse(rng: np.random.Generator, rows: int) -> np.ndarray:
    """(rows, 8) vectors of length exactly 1 whose products are multiples of 1/4: hundreds of ties, no rounding anywhere."""
    vectors = np.zeros((rows, 8), np.float32)
    for row in vectors:
        row[rng.permutation(8)[:4]] = rng.choice([-0.5, 0.5], 4)
    return vectors


@pytest.mark.parametrize("rows", [1, 3, 1000], ids=["a query a strip", "three", "one strip"])
@pytest.mark.parametrize("seed", range(4))
def test_ties_are_those_of_a_stable_sort_whatever_the_strips(seed, rows):
    rng = np.random.default_rng(seed)
    queries, gallery = coarse(rng, 40), coarse(rng, 90)
    labels, known = rng.integers(0, 9, 40), rng.integers(0, 8, 90)  # identity 8 has no match
    exclude = np.where(rng.random(40) < 0.5, rng.integers(0, 90, 40), -1)
    got = search(
        torch.from_numpy(queries),
        torch.from_numpy(gallery),
        query_labels=labels,
        gallery_labels=known,
        exclude=exclude,
        top=100,
        strip_bytes=rows * PAIR_BYTES * 90,
    )
    similarity = queries @ gallery.T
    assert len(np.unique(similarity)) <= 9  # ties are everywhere, or nothing was tested
    assert (labels == 8).any()
    agree(got, naive(similarity, labels, known, exclude))
    np.testing.assert_array_equal(
        got.similarity[got.nearest >= 0], np.take_along_axis(similarity, got.nearest, 1)[got.nearest >= 0]
    )
    assert np.isnan(got.similarity[got.nearest < 0]).all()


def test_negative_zero_equals_zero_and_infinities_have_their_place():
    values = torch.tensor([[0.0, -0.0, -1.0, torch.inf, 0.0, -torch.inf, -0.0, 1e-45]])
    labels = np.array([1, 0, 0, 0, 0, 0, 2, 3])
    for label, place in ((0, [3]), (1, [3, 7]), (2, [3, 7, 0, 1, 4])):
        got = rank_gallery(
            lambda low, high: values[low:high].clone(), query_labels=np.array([label]), gallery_labels=labels, top=8
        )
        assert got.nearest[0].tolist() == [3, 7, 0, 1, 4, 6, 2, 5]
        assert got.first_rank[0] == (1 if label == 0 else len(place) + 1)


def test_by_hand():
    gallery = torch.tensor([[1.0, 0], [0.8, 0.6], [0.6, 0.8], [0, 1.0], [-1.0, 0]])
    got = search(
        10 * gallery[:1], gallery, query_labels=np.array(["a"]), gallery_labels=np.array(["b", "a", "b", "a", "c"]), top=3
    )
    assert (got.first_rank[0], got.worst_rank[0], got.matches[0], got.candidates[0]) == (2, 4, 2, 5)
    assert got.average_precision[0] == (1 / 2 + 2 / 4) / 2
    assert got.average_precision_at_r[0] == (1 / 2) / 2
    assert got.inverse_negative_penalty[0] == 2 / 4
    assert got.nearest[0].tolist() == [0, 1, 2]
    assert got.best_own[0] == pytest.approx(0.8)
    assert got.best_other[0] == got.best[0] == pytest.approx(1)
    assert [got.hit(k)[0] for k in (1, 2)] == [False, True]
    alone = search(gallery[:1], gallery, query_labels=np.array(["x"]), gallery_labels=np.array(list("babac")))
    assert not alone.valid[0]
    assert not alone.hit(20)[0]
    assert alone.first_rank[0] == 0
    assert np.isnan([alone.average_precision[0], alone.best_own[0]]).all()
    assert alone.best[0] == alone.best_other[0]


@pytest.fixture
def clustered() -> tuple[torch.Tensor, np.ndarray]:
    """(300, 16) embeddings that lie about their animal's, some far off; 20 animals and one of a single photograph."""
    made = torch.Generator().manual_seed(3)
    labels = np.append(np.arange(299) % 20, 20)
    centres = torch.randn(21, 16, generator=made)
    return centres[labels] + 1.4 * torch.randn(300, 16, generator=made), labels


def test_average_precision_is_scikit_learns(clustered):
    embedding, labels = clustered
    got = search(embedding[:80], embedding[80:], query_labels=labels[:80], gallery_labels=labels[80:])
    unit = torch.nn.functional.normalize(embedding).numpy()
    want = [average_precision_score(labels[80:] == labels[i], unit[80:] @ unit[i]) for i in range(80)]
    np.testing.assert_allclose(got.average_precision, want, rtol=1e-12)
    assert 0.2 < np.mean(want) < 0.9


@pytest.mark.parametrize("same", [True, False], ids=["leave one out", "query and gallery"])
def test_means_are_those_of_pytorch_metric_learning(clustered, same):
    embedding, labels = clustered[0][:299], clustered[1][:299]
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision", "mean_average_precision_at_r"),
        k=298 if same else 219,
        knn_func=CustomKNN(CosineSimilarity()),
    )
    query, gallery = (slice(None), slice(None)) if same else (slice(80), slice(80, None))
    want = calculator.get_accuracy(
        embedding[query],
        torch.from_numpy(labels)[query],
        embedding[gallery],
        torch.from_numpy(labels)[gallery],
        ref_includes_query=same,
    )
    got = search(
        embedding[query],
        embedding[gallery],
        query_labels=labels[query],
        gallery_labels=labels[gallery],
        exclude=np.arange(299) if same else None,
    )
    assert got.hit(1).mean() == pytest.approx(want["precision_at_1"])
    assert got.average_precision.mean() == pytest.approx(want["mean_average_precision"], abs=1e-9)
    assert got.average_precision_at_r.mean() == pytest.approx(want["mean_average_precision_at_r"], abs=1e-9)
    assert got.candidates.tolist() == [298 if same else 219] * len(got)


def test_strips_lengths_and_dtypes_do_not_change_the_order(clustered):
    embedding, labels = clustered
    named = {"query_labels": labels, "gallery_labels": labels, "exclude": np.arange(300), "top": 5}
    want = naive((unit := torch.nn.functional.normalize(embedding).numpy()) @ unit.T, labels, labels, np.arange(300))
    want["nearest"] = [order[:5] for order in want["nearest"]]
    for rows in (1, 7, 300):
        got = search(3 * embedding, embedding / 5, **named, strip_bytes=rows * PAIR_BYTES * 300)
        agree(got, want, approx=("best_own", "best_other"))
    half = embedding.half()
    both = [search(half, half, **named), search(half.float(), half.float(), **named)]
    np.testing.assert_array_equal(both[0].first_rank, both[1].first_rank)
    assert half.dtype == torch.float16  # the caller's own tensors stay as they were
    near = nearest_neighbours(cosine_strips(embedding, embedding), num_queries=300, num_gallery=300, count=4, strip_bytes=1)
    np.testing.assert_array_equal(near, np.argsort(-(unit @ unit.T), 1, kind="stable")[:, :4])


def test_within_groups_equals_searches_one_by_one(clustered):
    embedding, labels = clustered
    group = np.array(list("abc"))[labels % 3]
    group[:5] = "d"  # not in the gallery
    queries, gallery = np.arange(60), np.arange(20, 300)  # 40 of them are in both
    exclude = np.where(queries >= 20, queries - 20, -1)
    got = search_within_groups(
        search,
        embedding[queries],
        embedding[gallery],
        query_groups=group[queries],
        gallery_groups=group[gallery],
        query_labels=labels[queries],
        gallery_labels=labels[gallery],
        exclude=exclude,
        top=6,
    )
    unit = torch.nn.functional.normalize(embedding).numpy()
    for i in queries:
        there = gallery[(group[gallery] == group[i]) & (gallery != i)]
        assert got.candidates[i] == len(there)
        if i < 5:
            assert not got.valid[i]
            assert (got.nearest[i] == -1).all()
            continue
        want = naive((unit[there] @ unit[i])[None], [labels[i]], labels[there])
        assert got.first_rank[i] == want["first_rank"][0]
        assert got.average_precision[i] == pytest.approx(want["average_precision"][0])
        assert (gallery[got.nearest[i]] == there[want["nearest"][0][:6]]).all()


def test_take_keeps_what_belongs_together(clustered):
    embedding, labels = clustered
    got = search(embedding, embedding, query_labels=labels, gallery_labels=labels, exclude=np.arange(300))
    part = got.take(np.array([4, 2]))
    assert len(part) == 2
    assert part.first_rank.tolist() == got.first_rank[[4, 2]].tolist()
    assert (part.nearest == got.nearest[[4, 2]]).all()
    assert len(got.take(got.valid)) == 299


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"queries": torch.ones(2, 3)}, r"\(Q, D\)"),
        ({"queries": torch.full((2, 4), torch.nan)}, "queries are not all finite"),
        ({"gallery": torch.tensor([[1.0, 0, 0, torch.inf]] * 3)}, "gallery are not all finite"),
        ({"queries": torch.ones(0, 4), "query_labels": np.empty(0, int)}, "0 queries and 3 gallery items"),
        ({"exclude": np.array([0, 3])}, "exclude must be"),
        ({"exclude": np.array([0])}, "exclude must be"),
    ],
)
def test_mistakes_are_told_in_one_line(change, part):
    given = {
        "queries": torch.ones(2, 4),
        "gallery": torch.ones(3, 4),
        "query_labels": np.zeros(2, int),
        "gallery_labels": np.zeros(3, int),
    } | change
    with pytest.raises(ValueError, match=part) as caught:
        search(given.pop("queries"), given.pop("gallery"), **given)
    assert "\n" not in str(caught.value)


MEASURE = """
import sys, numpy as np, torch
from tarpon.train.tasks.star.metrics.retrieval import search
def peak():  # of this program alone; what getrusage tells begins with the peak of the process that started it
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
size, made = int(sys.argv[1]), torch.Generator().manual_seed(0)
labels = np.random.default_rng(0).integers(0, size // 10, size)
queries, gallery = (torch.randn(size, int(sys.argv[2]), generator=made) for _ in range(2))
search(queries[:8], gallery[:8], query_labels=labels[:8], gallery_labels=labels[:8])
before = peak()
search(queries, gallery, query_labels=labels, gallery_labels=labels, strip_bytes=int(sys.argv[3]) * 2**20)
print(peak() - before)
"""


def grown_mib(size: int, dim: int, strip_mib: int) -> float:
    """Growth of the peak resident memory of a process by a search of size x size."""
    words = [sys.executable, "-c", MEASURE, *map(str, (size, dim, strip_mib))]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "dim"), [(3000, 32), (12_000, 64)])
def test_memory_does_not_grow_with_the_pairs(size, dim, capsys):
    grown, copy = grown_mib(size, dim, 64), 4 * size * dim / 2**20
    with capsys.disabled():
        print(f"\n{size} x {size} x {dim}: peak grew by {grown:.0f} MiB; all pairs alone are {4 * size * size / 2**20:.0f} MiB")
    assert copy / 2 < grown < 1.25 * 64 + copy + 40
