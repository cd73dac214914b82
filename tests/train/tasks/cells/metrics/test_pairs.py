"""Areas under the curve from pairs."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tarpon.train.tasks.cells.metrics.pairs import count_group_pairs, matched_roc_auc, resampled_roc_auc, roc_auc


def drawn(seed: int = 0, *, rows: int = 200, groups: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores with many ties, groups."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows)
    return label, np.round(rng.normal(label * 0.7, 1, rows), 1), rng.integers(0, groups, rows)


def test_area_is_undefined_without_both_classes():
    assert np.isnan(roc_auc(np.ones(3, int), np.arange(3.0)))
    assert roc_auc(np.array([0, 1]), np.array([0.1, 0.1])) == 0.5


def test_resampled_areas_are_those_of_the_resampled_rows():
    label, score, group = drawn()
    won, pairs = count_group_pairs(label, score, group)
    assert np.isclose(won.sum() / pairs.sum(), roc_auc_score(label, score))
    weights = np.random.default_rng(1).integers(0, 4, (20, 7))
    want = [roc_auc_score(label, score, sample_weight=w[group]) for w in weights]
    np.testing.assert_allclose(resampled_roc_auc(weights, won, pairs), want, rtol=1e-12)


def test_a_resample_of_one_class_has_no_area():
    won, pairs = count_group_pairs(np.array([0, 1]), np.array([0.1, 0.9]), np.array([0, 1]))
    got = resampled_roc_auc(np.array([[2, 0], [1, 1]]), won, pairs)
    assert np.isnan(got[0])
    assert got[1] == 1.0


def test_matched_area_counts_pairs_within_a_bin_only():
    label, score, bins = drawn(groups=5)
    wins = pairs = 0.0
    for i, j in itertools.product(np.flatnonzero(label == 1), np.flatnonzero(label == 0)):
        if bins[i] == bins[j]:
            pairs += 1
            wins += (score[i] > score[j]) + 0.5 * (score[i] == score[j])
    assert matched_roc_auc(label, score, bins) == pytest.approx(wins / pairs)


def test_a_score_that_only_reads_the_clock_wins_nothing_at_equal_hours():
    hour = np.array([0, 1, 2, 3, 2, 3, 4, 5])
    label = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert roc_auc(label, hour) == 14 / 16
    assert matched_roc_auc(label, hour, hour) == 0.5
    assert np.isnan(matched_roc_auc(label, hour, np.arange(8)))
