"""Offsets of classes against every point of the grid, scored by scikit-learn."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tarpon.train.metrics.confusion import macro_f1
from tarpon.train.tasks.mouse.decision.offsets import COST, GRID, count_along_grid, fit_offsets


def draw(seed, *, frames=150, classes=3):
    """Scores that are wrong by an offset of each class, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, frames, p=np.array([8, 3, 1, 1][:classes]) / sum([8, 3, 1, 1][:classes]))
    scores = rng.normal(size=(frames, classes)) + 1.5 * np.eye(classes)[truth] - rng.normal(size=classes)
    return scores, truth


def value_of(scores, truth, offsets):
    given = (scores + offsets).argmax(1)
    score = f1_score(truth, given, labels=np.unique(truth), average="macro", zero_division=0)
    return score - COST * np.abs(offsets).sum()


@pytest.mark.parametrize("seed", range(3))
def test_of_two_classes_no_other_pair_is_better(seed):
    scores, truth = draw(seed, classes=2)
    best = max(value_of(scores, truth, np.array(pair)) for pair in itertools.product(GRID, repeat=2))
    assert value_of(scores, truth, fit_offsets(scores, truth)) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_of_more_classes_no_other_offset_of_one_is_better(seed):
    scores, truth = draw(seed, classes=4)
    fitted = fit_offsets(scores, truth)
    reached = value_of(scores, truth, fitted)
    assert set(fitted) <= set(GRID)
    assert reached >= value_of(scores, truth, np.zeros(4))
    for c, other in itertools.product(range(4), GRID):
        assert value_of(scores, truth, np.where(np.arange(4) == c, other, fitted)) <= reached + 1e-12


def test_confusions_along_the_grid_are_those_of_each_offset():
    scores, truth = draw(3, classes=4)
    scores[:20] = 0  # ties: the lower class
    offsets = np.array([0.25, -0.5, 0, 0])
    for c in range(4):
        matrices = count_along_grid(scores, truth, offsets=offsets, label=c)
        for matrix, value in zip(matrices, GRID, strict=True):
            given = (scores + np.where(np.arange(4) == c, value, offsets)).argmax(1)
            assert matrix.tolist() == [[int(((truth == i) & (given == j)).sum()) for j in range(4)] for i in range(4)]
        assert np.isfinite(macro_f1(matrices)).all()


def test_one_number_added_to_all_scores_of_a_frame_changes_nothing():
    scores, truth = draw(4)
    shift = np.random.default_rng(0).integers(-8, 8, (len(truth), 1)) / 4
    scores = scores.round(3)
    assert np.array_equal(fit_offsets(scores, truth), fit_offsets(scores + shift, truth))


def test_a_class_without_frames_and_answers_that_are_right_keep_0():
    scores, truth = draw(5, classes=4)
    kept = truth != 3
    assert fit_offsets(scores[kept], truth[kept])[3] == 0
    assert not fit_offsets(5 * np.eye(4)[truth], truth).any()


def test_a_gain_of_less_than_its_cost_is_not_taken():
    # one frame of 2000 would be right with an offset for class 1: macro F1 + 0.0003, where a step costs 0.001
    truth = np.repeat([0, 1], 1000)
    scores = 3 * np.eye(2)[truth]
    scores[-1] = [0.1, 0]
    assert not fit_offsets(scores, truth).any()
