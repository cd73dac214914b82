"""The AUC before the onset: by hand, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from tarpon.train.tasks.cells.metrics.control import describe_control, is_near_guess, score_onset, split_at_onset
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


def test_of_wells_infected_at_different_hours_only_pages_before_all_of_them_are_the_control(made):
    """One well is infected at hour 1, one at hour 3; a page between is before its own onset and no control."""
    label, clock = [1] * 4 + [1] * 4 + [0] * 4, [0, 1, 2, 3] * 3
    rows = made(label, [0.5] * 12, clock, clock, stack=list("aaaabbbbcccc"), onset=2.0)
    rows = replace(rows, onset=np.repeat([1.0, 3.0, 2.0], 4).astype(np.float32))
    before, after = split_at_onset(rows)
    assert before.tolist() == [True, False, False, False] * 3
    assert after.tolist() == [False, True, True, True, False, False, False, True, False, True, True, True]
    assert score(rows)["rows_before_onset"] == 3


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
