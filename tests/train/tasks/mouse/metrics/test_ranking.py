"""Precision, recall and their area: by hand, and curve against area."""

import numpy as np
import pytest

from tarpon.train.tasks.mouse.metrics.ranking import average_precision, one_vs_rest, precision_recall, ranking_scores
from tarpon.train.tasks.mouse.metrics.sequence import score
from tarpon.train.tasks.mouse.metrics.trial import Trial


def two_class(actions, second, *, key="a"):
    """A trial whose probability of class 1 is given; class 2 never gets any."""
    second = np.asarray(second, np.float32)
    probs = np.stack([1 - second, second, np.zeros_like(second)], 1)
    return Trial(key=key, group="g", actions=np.array(actions, np.int64), probs=probs, size=(8, 8))


def test_a_case_worked_by_hand():
    # ranked by class 1: yes, no, yes, no; precision at the two hits is 1 and 2/3
    trials = [two_class([1, 0], [0.9, 0.8]), two_class([1, 0, -1], [0.7, 0.1, 1.0], key="b")]
    assert average_precision(trials, 3)[1] == pytest.approx((1 + 2 / 3) / 2)
    np.testing.assert_allclose(precision_recall(trials)[1], [[1, 0.5], [1, 2 / 3], [0.5, 0.5], [0.5, 1], [0, 1]])


def test_a_class_without_true_frames_is_undefined_and_left_out_of_the_mean():
    trials = [two_class([1, 0, 1], [0.9, 0.2, 0.8])]
    assert np.isnan(average_precision(trials, 3)).tolist() == [False, False, True]
    assert precision_recall(trials)[2] is None
    assert set(one_vs_rest(trials, names=["x", "y", "z"])) == {"pr_x", "pr_y"}
    scores = score(trials, classes=["x", "y", "z"])
    assert scores["average_precision"] == scores["average_precision_y"] == 1.0
    assert "average_precision_z" not in scores


def test_without_labels_nothing_is_defined():
    trials = [two_class([-1, -1], [0.5, 0.5])]
    assert np.isnan(list(ranking_scores(trials, names=["x", "y", "z"]).values())).all()
    assert precision_recall(trials) == [None] * 3


@pytest.mark.parametrize("seed", range(4))
def test_the_area_under_the_steps_is_the_average_precision(seed, random_trials):
    trials = random_trials(seed)
    for curve, area in zip(precision_recall(trials), average_precision(trials, 4), strict=True):
        recall, precision = curve.T
        assert -np.diff(recall) @ precision[:-1] == pytest.approx(area)


def test_a_blind_guess_scores_the_share_of_the_class():
    actions = np.repeat([0, 1], [300, 100])
    assert average_precision([two_class(actions, np.full(400, 0.5))], 3)[:2].tolist() == [0.75, 0.25]


def test_one_against_rest_is_of_the_labelled_frames(random_trials):
    trials = random_trials(1)
    known = np.concatenate([trial.actions for trial in trials])
    for c, (positive, scores) in enumerate(one_vs_rest(trials, names="abcd").values()):
        assert (positive == (known[known >= 0] == c)).all()
        assert len(scores) == len(positive)
