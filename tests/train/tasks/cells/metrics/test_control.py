"""The AUC before the onset: by hand, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from tarpon.train.tasks.cells.metrics.control import (
    compare_at_onsets,
    describe_control,
    describe_onsets,
    is_near_guess,
    score_onset,
)
from tarpon.train.tasks.cells.metrics.scores import score


def test_before_and_from_the_onset_by_hand(made):
    """At hours 0 and 1 the infected page has the higher probability in one pair of four; from hour 2 on in all."""
    rows = made(
        [0, 1, 0, 1, 0, 1],
        [0.5, 0.4, 0.3, 0.2, 0.1, 0.9],
        [0, 0, 1, 1, 2, 2],
        [0] * 6,
        target=[0] * 6,
        stack=list("abcdef"),
        onset=2.0,
    )
    got = score_onset(rows)
    assert got == {"auc_before_onset": 0.25, "auc_from_onset": 1.0, "rows_before_onset": 4.0}
    whole = score(rows)
    assert whole["auc_before_onset"] == 0.25
    assert whole["auc_before_onset_low"] <= 0.25 <= whole["auc_before_onset_high"]


def test_an_unknown_onset_and_one_class_before_it_give_no_control(made):
    rows = made([0, 1, 1], [0.1, 0.2, 0.3], [0, 3, 4], [0, 3, 4], onset=2.0)
    assert "auc_before_onset" not in score(rows)
    assert "auc_from_onset" not in score(rows)
    assert not {"auc_before_onset", "rows_before_onset"} & score(made([0, 1], [0.1, 0.2], [0, 0], [0, 0])).keys()


def test_every_well_is_held_by_its_own_onset_against_healthy_pages_of_the_same_hours(made):
    """Well a is infected at hour 1, b at hour 3, c is healthy; the pages are of hours 0 to 3.

    Before: a's page 0 (.3) against c's page 0 (.4): lost. b's pages 0, 1, 2 (.9, .45, .1) against c's pages 0, 1, 2
    (.4, .5, .2): 3 + 2 + 0 of 9 pairs won. Together 5 of 10.
    From then on: a's pages 1, 2, 3 (.6, .1, .8) against c's pages 1, 2, 3 (.5, .2, .7): 2 + 0 + 3 of 9; b's page 3 (.65)
    against c's page 3 (.7): lost. Together 5 of 10.
    """
    prob = [0.3, 0.6, 0.1, 0.8, 0.9, 0.45, 0.1, 0.65, 0.4, 0.5, 0.2, 0.7]
    rows = made([1] * 8 + [0] * 4, prob, [0, 1, 2, 3] * 3, [0] * 12, stack=list("aaaabbbbcccc"), onset=2.0)
    rows = replace(rows, onset=np.repeat([1.0, 3.0, 2.0], 4).astype(np.float32))
    masks = compare_at_onsets(rows)
    drawn = {name: [np.flatnonzero(mask).tolist() for mask in own] for name, own in masks.items()}
    assert drawn == {
        "auc_before_onset": [[0, 8], [4, 5, 6, 8, 9, 10]],
        "auc_from_onset": [[1, 2, 3, 9, 10, 11], [7, 11]],
    }
    assert score_onset(rows) == {
        "auc_before_onset": 0.5,
        "auc_from_onset": 0.5,
        "rows_before_onset": 7.0,  # b's and c's first three pages, a's first one
        "first_onset_h": 1.0,
        "last_onset_h": 3.0,
    }


def test_the_hour_tells_nothing_of_wells_infected_late(made):
    """A model that answers by the clock alone: nothing is told of wells infected at hour 2 and at hour 8."""
    clock, stack, label = np.tile(np.arange(10.0), 4), np.repeat(list("abcd"), 10), np.repeat([1, 1, 0, 0], 10)
    rows = replace(made(label, clock / 10, clock, clock, stack=stack), onset=np.repeat([2.0, 8.0, 2.0, 2.0], 10).astype("f4"))
    got = score(rows)
    assert got["auc_before_onset"] == got["auc_from_onset"] == 0.5
    assert (got["first_onset_h"], got["last_onset_h"]) == (2.0, 8.0)


def test_what_a_well_shows_before_its_own_onset_is_found_however_late_that_is(made):
    """The well of hour 8 is bright from hour 2 on: pages from before all onsets do not tell, its own do."""
    clock, label = np.tile(np.arange(10.0), 4), np.repeat([1, 1, 0, 0], 10)
    stack = np.repeat(list("abcd"), 10)
    rows = made(label, np.where((stack == "b") & (clock >= 2), 0.9, 0.1), clock, clock, stack=stack)
    rows = replace(rows, onset=np.repeat([2.0, 8.0, 2.0, 2.0], 10).astype(np.float32))
    # a's 2 pages tie with 4 healthy ones; of b's 8 pages 6 win against all 16 healthy ones, 2 tie
    expected = (0.5 * 2 * 4 + 6 * 16 + 0.5 * 2 * 16) / (2 * 4 + 8 * 16)
    got = score(rows)
    assert got["auc_before_onset"] == pytest.approx(expected)
    assert not is_near_guess(got)
    assert "Before each well's own onset (2 to 8 h)" in describe_control(got)


def test_an_interval_is_over_the_pairs_of_the_score(made):
    """Counted pair by pair: each well as often as it is drawn, pairs only within the hours of one onset."""
    rng, pages = np.random.default_rng(0), 6
    stack, label = np.repeat(list("abcdefgh"), pages), np.repeat([1] * 4 + [0] * 4, pages)
    rows = made(label, rng.random(48).round(1), np.tile(np.arange(6.0), 8), np.zeros(48), stack=stack)
    rows = replace(rows, onset=np.repeat([2, 2, 4, 4, 2, 2, 2, 2], pages).astype(np.float32))
    won, pairs = np.zeros((2, 8, 8))
    for i in np.flatnonzero((label == 1) & (rows.clock < rows.onset)):
        for j in np.flatnonzero((label == 0) & (rows.clock < rows.onset[i])):
            at = ord(stack[i]) - 97, ord(stack[j]) - 97
            pairs[at] += 1
            won[at] += (rows.prob[i] > rows.prob[j]) + 0.5 * (rows.prob[i] == rows.prob[j])
    drawn = np.random.default_rng(0).integers(8, size=(200, 8))
    weights = np.stack([np.bincount(row, minlength=8) for row in drawn]).astype(float)
    counts = [np.einsum("si,ij,sj->s", weights, table, weights) for table in (won, pairs)]
    areas = counts[0][counts[1] > 0] / counts[1][counts[1] > 0]
    got = score(rows, resamples=200)
    assert got["auc_before_onset"] == pytest.approx(won.sum() / pairs.sum())
    ends = got["auc_before_onset_low"], got["auc_before_onset_high"]
    assert ends == pytest.approx(tuple(np.quantile(areas, (0.025, 0.975))))


@pytest.mark.parametrize(("onsets", "words"), [
    ([], "the onset"),
    ([2.0, 2.0], "the onset at 2 h"),
    ([4.5, 1.0], "each well's own onset (1 to 4.5 h)"),
])  # fmt: skip
def test_onsets_in_words(onsets, words):
    assert describe_onsets(np.array(onsets)) == words


@pytest.mark.parametrize(
    ("scores", "near"),
    [
        ({"auc_before_onset": 0.5}, True),
        ({"auc_before_onset": 0.6}, True),
        ({"auc_before_onset": 0.61}, False),
        ({"auc_before_onset": 0.3}, False),
        ({"auc_before_onset": 0.57, "auc_before_onset_low": 0.45, "auc_before_onset_high": 0.7}, True),
        ({"auc_before_onset": 0.57, "auc_before_onset_low": 0.54, "auc_before_onset_high": 0.6}, False),
        ({}, False),
    ],
)
def test_near_a_guess_is_near_half_and_not_proved_to_be_off_it(scores, near):
    assert is_near_guess(scores) == near
    assert ("as it must be" in describe_control(scores)) == near
    assert ("something else than the infection" in describe_control(scores)) == (bool(scores) and not near)
