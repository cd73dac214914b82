"""Chance is the mean over every order there is."""

from itertools import combinations

import numpy as np
import pytest

from tarpon.train.tasks.star.metrics.chance import random_hit_rates, random_order_scores

RANKS = (1, 5, 10, 20)


def every_order(m: int, n: int) -> dict[str, float]:
    """Means over all places that m matches can take among n candidates, each as likely as any other."""
    ranks = np.array(list(combinations(range(1, n + 1), m)))
    return {
        "map": (np.arange(1, m + 1) / ranks).mean(),
        "minp": (m / ranks[:, -1]).mean(),
        "mean_rank": ranks[:, 0].mean(),
        **{f"cmc_{k}": (ranks[:, 0] <= k).mean() for k in RANKS},
    }


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 9), (2, 7), (3, 12), (5, 5), (4, 13)])
def test_one_query_is_the_mean_over_all_orders(m, n):
    expected = every_order(m, n)
    found = random_order_scores(np.array([m]), np.array([n]))
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected)


def test_several_queries_weigh_the_same_and_those_without_a_match_nothing():
    found = random_order_scores(np.array([2, 0, 1, 2]), np.array([7, 7, 9, 7]))
    two, one = every_order(2, 7), every_order(1, 9)
    assert found == pytest.approx({name: (2 * two[name] + one[name]) / 3 for name in two})


def test_one_match_in_a_large_gallery_stays_finite():
    found = random_order_scores(np.array([1, 3000]), np.array([140_000, 140_000]))
    assert found["cmc_1"] == pytest.approx((1 / 140_000 + 3000 / 140_000) / 2)
    assert all(np.isfinite(value) for value in found.values())
    assert found["mean_rank"] == pytest.approx((140_001 / 2 + 140_001 / 3001) / 2)


def test_share_found_rises_to_one():
    within = random_hit_rates(np.array([2]), np.array([4]), most=6)
    np.testing.assert_allclose(within, [[1 / 2, 5 / 6, 1, 1, 1, 1]])


def test_without_a_match_there_is_no_chance():
    with pytest.raises(ValueError, match="no query has a match"):
        random_order_scores(np.array([0]), np.array([5]))
