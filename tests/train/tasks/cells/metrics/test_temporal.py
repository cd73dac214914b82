"""Scores over the clock with intervals: those of the windows, hours by hand, and what cannot be known."""

import math

import numpy as np
import pytest

from tarpon.train.tasks.cells.metrics.temporal import score_over_time
from tarpon.train.tasks.cells.metrics.windows import score_windows


def plate(made, good_from: dict[str, float], *, pages: int = 24):
    """A stack of 12 h a well: infected wells (b) are told from their hour on and look like the healthy ones (c) before."""
    wells = np.repeat(list(good_from), pages)
    clock = np.tile(np.arange(pages) / 2, len(good_from))
    hour = np.repeat(list(good_from.values()), pages)
    label = np.char.startswith(wells, "b").astype(int)
    prob = np.where(label == 1, np.where(clock >= hour, 0.9, 0.2), 0.2)
    return made(label, prob, clock, clock + 1, target=clock, stack=wells, onset=2.0)


def test_windows_are_those_of_the_scores(drawn):
    rows = drawn()
    got = score_over_time(rows, resamples=200)
    for window, record in zip(score_windows(rows), got.windows, strict=True):
        assert (record["start_h"], record["middle_h"], record["pages"]) == (window.start, window.centre, window.scores["rows"])
        assert record["auc"] == window.scores["auc"]
        assert record["mae"] == pytest.approx(window.scores["mae"])
        assert record["auc_low"] <= record["auc"] <= record["auc_high"]
        assert record["mae_low"] <= record["mae"] <= record["mae_high"]
        assert min(record["mae_infected"], record["mae_uninfected"]) <= record["mae"]
    assert got.unit == "10 wells"


def test_the_first_hour_is_that_of_the_slowest_well_and_earlier_where_it_is_not_drawn(made):
    """Two of the three wells are seen from hour 0 on and one from hour 6: the AUC is 1 without it and from window 6 to 8 on."""
    rows = plate(made, {"b1": 0, "b2": 0, "b3": 6, "c1": 0, "c2": 0, "c3": 0})
    got = score_over_time(rows, width=2, stride=1, level=0.95)
    assert got.first_hour == 7.0
    assert got.first_hour_interval == (1.0, 7.0)
    never = score_over_time(plate(made, {"b1": 0, "b2": 20, "c1": 0, "c2": 0}), width=2, stride=1)
    assert math.isnan(never.first_hour)
    assert never.first_hour_interval == (1.0, math.inf)


def test_a_lone_well_gives_no_interval_of_the_area(made):
    got = score_over_time(plate(made, {"b1": 0, "c1": 0, "c2": 0}), width=4, stride=2)
    assert got.first_hour == 2.0
    assert got.first_hour_interval is None
    assert math.isnan(got.windows[0]["auc_low"])
    assert got.windows[0]["mae_low"] == got.windows[0]["mae_high"] == 1.0


def test_windows_with_gaps_are_refused(drawn):
    with pytest.raises(ValueError, match="at most the width"):
        score_over_time(drawn(), width=2, stride=3)
