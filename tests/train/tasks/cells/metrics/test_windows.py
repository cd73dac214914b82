"""Scores by windows of the clock: what a window holds, the hour it speaks of, and pages counted once."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from tarpon.train.tasks.cells.metrics.windows import Window, count_pages, find_good_hour, score_windows


def test_published_windows_are_fifteen_and_half_open(drawn):
    found = score_windows(drawn())
    assert [window.centre for window in found] == [3.0 * k for k in range(1, 16)]
    assert [window.scores["rows"] for window in found] == [120.0] * 14 + [90.0]  # 12 pages a stack; hours 42 to 46: 9
    rows = drawn()
    at = (rows.clock >= 6) & (rows.clock < 12)
    assert found[2].scores["accuracy"] == pytest.approx(oracle.accuracy_score(rows.label[at], rows.prob[at] >= 0.5))
    assert found[2].scores["mae"] == pytest.approx(np.abs(rows.predicted - rows.target)[at].mean())


@pytest.mark.parametrize("last", [0.0, 2.5, 5.5, 6.0, 46.0, 47.5, 48.0, 50.0])
def test_every_page_is_in_a_window(last, made):
    clock = np.arange(0, last + 0.1, 0.5)
    found = score_windows(made(np.arange(len(clock)) % 2, clock * 0, clock, clock * 0, target=clock * 0))
    covered = np.zeros(len(clock), bool)
    for window in found:
        covered |= (clock >= window.start) & (clock < window.end)
    assert covered.all()


def test_windows_without_pages_are_left_out_and_of_one_class_have_no_auc(made):
    found = score_windows(made([0, 1, 1, 1], [0.1, 0.9, 0.8, 0.7], [0, 1, 20, 21], [0, 0, 0, 0]))
    assert [window.start for window in found] == [0.0, 15.0, 18.0]
    assert found[0].scores["auc"] == 1.0
    assert np.isnan(found[1].scores["auc"])


@pytest.mark.parametrize(
    ("areas", "hour"),
    [
        ([0.9, 0.96, 0.97], 6.0),
        ([0.99, 0.94, 0.97], 9.0),
        ([0.95, 0.95, 0.95], 3.0),
        ([0.99, 0.99, 0.5], None),
        ([0.9, np.nan, 0.97], 9.0),
        ([0.99, 0.96, np.nan], 3.0),
        ([np.nan, np.nan, np.nan], None),
    ],
)
def test_good_from_the_first_window_after_which_none_fails(areas, hour):
    found = [Window(start=3.0 * k, end=3.0 * k + 6, scores={"auc": value}) for k, value in enumerate(areas)]
    got = find_good_hour(found)
    assert np.isnan(got) if hour is None else got == hour


def test_the_hour_from_which_all_is_good_is_that_of_a_window_that_is_good(drawn):
    """The figure draws a window at its middle: at the hour that the title names stands a point that reaches the level."""
    found = score_windows(drawn())
    hour = find_good_hour(found)
    at = {window.centre: window.scores["auc"] for window in found}
    assert at[hour] >= 0.95
    assert all(area >= 0.95 for middle, area in at.items() if middle >= hour)
    assert at[hour - 3] < 0.95


def test_every_page_is_counted_once(drawn):
    rows = drawn(stacks=3)
    edges, counts = count_pages(rows)
    assert edges.tolist() == [3.0 * k for k in range(17)]
    assert counts.sum() == len(rows)
    assert counts[1].sum() == (rows.label == 1).sum()
    assert counts[:, 0].tolist() == [12, 6]  # 6 pages of 2 uninfected and of 1 infected stack
