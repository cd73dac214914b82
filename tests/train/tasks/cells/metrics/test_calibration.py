"""Reliability bins and the expected calibration error."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from tarpon.train.tasks.cells.metrics.calibration import bin_reliability


def test_by_hand():
    prob = np.array([0.05, 0.05, 0.95, 0.85, 1.0], np.float32)
    label = np.array([0, 1, 1, 1, 0])
    bins = bin_reliability(label, prob)
    assert bins.count.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    assert bins.fraction_positive[[0, 8, 9]].tolist() == [0.5, 1.0, 0.5]
    assert np.isnan(bins.mean_predicted[1:8]).all()
    assert bins.error() == pytest.approx((2 * 0.45 + 0.15 + 2 * 0.475) / 5, abs=1e-6)


def test_curve_is_that_of_sklearn():
    rng = np.random.default_rng(0)
    prob = rng.random(5000)
    label = (rng.random(5000) < prob**2).astype(int)
    fraction_positive, mean_predicted = calibration_curve(label, prob, n_bins=10)
    bins = bin_reliability(label, prob)
    np.testing.assert_allclose(bins.fraction_positive, fraction_positive)
    np.testing.assert_allclose(bins.mean_predicted, mean_predicted)


def test_honest_probabilities_have_a_small_error_and_overconfident_ones_a_large():
    rng = np.random.default_rng(0)
    prob = rng.random(20_000)
    label = (rng.random(20_000) < prob).astype(int)
    assert bin_reliability(label, prob).error() < 0.02
    assert bin_reliability(label, np.round(prob)).error() == pytest.approx(0.25, abs=0.02)
    assert bin_reliability(label, label.astype(float)).error() == 0.0
