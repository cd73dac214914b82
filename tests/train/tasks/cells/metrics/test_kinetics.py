"""The share called over the hours, and the curve through it: known curves come back, and what does not rise has none."""

import math

import numpy as np
import pytest

from tarpon.train.tasks.cells.metrics.kinetics import fit_rise, follow_classes, logistic

HOURS = np.arange(48) / 2


@pytest.mark.parametrize("curve", [(0.0, 1.0, 10.0, 1.5), (0.1, 0.9, 6.0, 0.7), (0.0, 0.5, 15.0, 0.3)])
def test_a_known_curve_comes_back(curve):
    bottom, top, half, scale = curve
    got = fit_rise(HOURS, logistic(HOURS, *curve), np.full(len(HOURS), 12.0))
    assert (got.bottom, got.top, got.half_h) == pytest.approx((bottom, top, half), abs=1e-3)
    assert got.rise_h == pytest.approx(2 * math.log(9) * scale, rel=1e-3)
    assert got.at(np.array([half])) == pytest.approx((top + bottom) / 2, abs=1e-3)
    ends = half + np.array([-got.rise_h, got.rise_h]) / 2  # 10% and 90% of the rise
    assert (logistic(ends, *curve) - bottom) / (top - bottom) == pytest.approx([0.1, 0.9], abs=1e-3)


@pytest.mark.parametrize(
    "called",
    [np.zeros(48), np.ones(48), np.full(48, 0.5), np.linspace(1, 0, 48), np.r_[np.zeros(47), 0.1]],
    ids=["never", "always", "half", "falls", "hardly"],
)
def test_what_does_not_rise_has_no_half_time(called):
    assert math.isnan(fit_rise(HOURS, called, np.full(48, 5.0)).half_h)


def test_shares_by_hand_and_the_interval_of_the_half_time(made):
    """Wells called from hours 4, 5, 6 and 7 on: half of the pages are called from hour 5 on, three quarters from 6 on."""
    wells, begins = np.repeat(["b1", "b2", "b3", "b4", "c1", "c2"], 24), np.repeat([4, 5, 6, 7, 99, 99], 24)
    clock, label = np.tile(np.arange(24) / 2, 6), np.char.startswith(np.repeat(["b1"] * 4 + ["c1"] * 2, 24), "b").astype(int)
    rows = made(label, np.where(clock >= begins, 0.9, 0.1), clock, clock, stack=wells)
    got = follow_classes(rows)
    infected, healthy = got["infected"], got["uninfected"]
    share = dict(zip(infected.hours.tolist(), infected.called.tolist(), strict=True))
    assert (share[3.5], share[4.0], share[5.5], share[6.0], share[7.0]) == (0, 0.25, 0.5, 0.75, 1)
    assert infected.pages.tolist() == [4] * 24
    assert infected.unit == "4 wells"
    assert 4.9 < infected.rise.half_h < 5.6
    low, high = infected.half_interval
    assert 3.5 <= low < infected.rise.half_h < high <= 7  # the earliest well drawn alone steps up between 3.5 and 4
    assert (infected.low <= infected.called).all()
    assert (infected.called <= infected.high).all()
    assert healthy.called.max() == 0
    assert math.isnan(healthy.rise.half_h)
