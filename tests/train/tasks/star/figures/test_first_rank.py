"""The bars hold every query once, and the line as many."""

import numpy as np
import pytest
import torch

from tarpon.train.figures import style
from tarpon.train.tasks.star.figures.first_rank import count_ranks, first_ranks, rank_bins
from tarpon.train.tasks.star.metrics.retrieval import search


@pytest.fixture(scope="module")
def found():
    """60 queries of 9 animals among 37 photographs of 8: one animal cannot be found."""
    rng = np.random.default_rng(0)
    queries, gallery = (torch.from_numpy(rng.normal(size=(count, 4)).astype(np.float32)) for count in (60, 37))
    return search(queries, gallery, query_labels=np.arange(60) % 9, gallery_labels=np.arange(37) % 8)


def test_bins_double_until_they_hold_the_gallery():
    assert rank_bins(1) == [(1, 1)]
    assert rank_bins(9) == [(1, 1), (2, 2), (3, 4), (5, 8), (9, 16)]


def test_every_query_with_a_match_is_in_one_bar_and_once_in_the_line(found):
    edges, own, random = count_ranks(found)
    ranks = found.first_rank[found.valid]
    assert own.tolist() == [((ranks >= low) & (ranks <= high)).sum() for low, high in edges]
    assert own.sum() == len(ranks) == 54
    assert random.sum() == pytest.approx(54)
    assert random[0] == pytest.approx((found.matches / found.candidates)[found.valid].sum())


def test_the_figure_draws_both(found):
    axes = first_ranks(found, split="test").axes[0]
    assert [bar.get_height() for bar in axes.patches] == count_ranks(found)[1].tolist()
    np.testing.assert_allclose(axes.lines[0].get_ydata(), count_ranks(found)[2])
    assert "(test)" in axes.get_title(loc="left")
    assert style.png(first_ranks(found)).startswith(b"\x89PNG")
