"""Figures of a search show the numbers that the scores hold, also where there is little to show."""

import numpy as np
import pytest
import torch

from tarpon.train.figures import style
from tarpon.train.tasks.star.figures import retrieval as retrieval_figures
from tarpon.train.tasks.star.figures.retrieval import BANDS, MOST_IDENTITIES, band_counts
from tarpon.train.tasks.star.metrics.open_set import Novelty
from tarpon.train.tasks.star.metrics.retrieval import Retrieval, search
from tarpon.train.tasks.star.metrics.scores import cmc_curve, score_identities

NOVELTY = Novelty(threshold=0.5, false_positive_rate=0.05, slope=-20.0, intercept=10.0)


def found(animals: int, queries: int, gallery: int) -> tuple[Retrieval, np.ndarray]:
    made = torch.Generator().manual_seed(0)
    centre = torch.randn(animals, 12, generator=made)
    labels = [np.arange(count) % animals for count in (queries, gallery)]
    given = [centre[own] + 0.9 * torch.randn(len(own), 12, generator=made) for own in labels]
    names = np.array([f"$ta_{k:03}" for k in labels[0]])  # a dollar sign would start matplotlib's mathematics
    return search(*given, query_labels=labels[0], gallery_labels=labels[1]), names


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 3, 2), (2, 2, 2), (120, 300, 400)], ids=str)
def test_little_and_much_can_be_drawn(sizes):
    retrieval, names = found(*sizes)
    for figure in (
        retrieval_figures.cmc({"plain": retrieval, "reranked": retrieval}, split="test"),
        retrieval_figures.ranks(retrieval, identities=names),
        retrieval_figures.similarities(retrieval),
        retrieval_figures.similarities(retrieval, novelty=NOVELTY, new=np.array([0.1, np.nan]), split="test"),
    ):
        assert style.pixels(figure, dpi=40).std() > 0


def test_curve_is_that_of_the_scores():
    retrieval, _ = found(20, 80, 100)
    axes = retrieval_figures.cmc({"plain": retrieval}).axes[0]
    line = axes.get_lines()[0]
    np.testing.assert_array_equal(line.get_ydata(), cmc_curve(retrieval, most=50))
    assert f"mAP {retrieval.average_precision.mean():.3f}" in line.get_label()
    assert f"rank 1 {retrieval.hit(1).mean():.1%}" in line.get_label()


def test_bars_count_the_queries_and_the_worst_animal_is_on_top():
    retrieval, names = found(60, 240, 300)
    axes = retrieval_figures.ranks(retrieval, identities=names).axes[0]
    records = score_identities(retrieval, identities=names, outings=names)[-MOST_IDENTITIES:]
    assert [text.get_text() for text in axes.get_yticklabels()] == [style.plain(record["identity"]) for record in records]
    widths = np.array([bar.get_width() for bar in axes.patches]).reshape(len(BANDS), -1).sum(0)
    assert widths.tolist() == [record["num_queries"] for record in records]
    assert "the 48 found worst" in axes.get_title("left")


def test_bands_by_hand():
    ranks = np.array([1, 1, 2, 5, 6, 10, 11, 20, 21, 900, 1])
    group = np.array([0] * 10 + [2])
    assert band_counts(ranks, group).tolist() == [[2, 2, 2, 2, 2], [0] * 5, [1, 0, 0, 0, 0]]


def test_similarities_are_shares_and_the_threshold_is_marked():
    retrieval, _ = found(20, 80, 100)
    axes = retrieval_figures.similarities(retrieval, novelty=NOVELTY, new=np.array([0.2, 0.3])).axes[0]
    for patch in axes.patches:
        values, _, _ = patch.get_data()
        assert values.sum() == pytest.approx(1)
    assert len(axes.patches) == 3
    assert list(axes.get_lines()[0].get_xdata()) == [0.5, 0.5]
