"""The best path against all paths, and what changes cost against counting by hand."""

import itertools
import math

import numpy as np
import pytest

from tarpon.train.tasks.mouse.decision.viterbi import find_best_paths, find_paths, fit_moves


def value_of(path, scores, moves):
    return sum(scores[t, c] for t, c in enumerate(path)) + sum(moves[a, b] for a, b in itertools.pairwise(path))


@pytest.mark.parametrize("seed", range(12))
def test_no_other_path_is_better(seed):
    rng = np.random.default_rng(seed)
    frames, classes = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    scores, moves = rng.normal(size=(3, frames, classes)), 2 * rng.normal(size=(3, classes, classes))
    found = find_best_paths(scores, moves)
    assert found.shape == (3, frames)
    for own, path, move in zip(scores, found, moves, strict=True):
        every = itertools.product(range(classes), repeat=frames)
        assert path.tolist() == list(max(every, key=lambda each: value_of(each, own, move)))


def test_without_moves_it_is_argmax_and_the_lower_of_equals():
    rng = np.random.default_rng(0)
    scores = np.log(rng.dirichlet(np.ones(5), (4, 300)).astype(np.float32)).astype(np.float64)
    scores[:, ::7] = 0.25
    assert np.array_equal(find_best_paths(scores, np.zeros((1, 5, 5))), scores.argmax(2))


def test_what_is_added_to_all_classes_of_a_frame_changes_nothing():
    rng = np.random.default_rng(1)
    scores, moves = rng.normal(size=(2, 200, 4)), rng.normal(size=(1, 4, 4))
    assert np.array_equal(find_best_paths(scores, moves), find_best_paths(scores + rng.normal(size=(2, 200, 1)), moves))


def test_sequences_of_any_lengths_are_as_each_alone():
    rng = np.random.default_rng(2)
    scores = [rng.normal(size=(length, 3)) for length in (5, 9, 5, 1, 9, 9)]
    moves = [rng.normal(size=(3, 3)) for _ in scores]
    found = find_paths(scores, moves)
    for own, move, path in zip(scores, moves, found, strict=True):
        assert np.array_equal(path, find_best_paths(own[None], move[None])[0])


def test_frames_that_say_nothing_go_on_as_the_frames_before():
    scores = np.zeros((1, 12, 3))
    scores[0, :4, 2] = 5
    moves = np.full((1, 3, 3), -1.0) * ~np.eye(3, dtype=bool)
    assert find_best_paths(scores, moves)[0].tolist() == [2] * 12


def test_costs_by_hand():
    # class 0: 5 pairs seen, of which 1 ends it; class 1: 3 pairs, 1 end (to 0); a bout is 8 pairs / 2 ends = 4 frames long
    labels = [np.array([0, 0, 0, 0, 1, 1, 1, 0]), np.array([0, -1, 0, 0])]
    moves = fit_moves(labels, num_classes=2)
    end = [(1 + 1) / (5 + 4), (1 + 1) / (3 + 4)]
    assert moves[0, 1] == pytest.approx(math.log(end[0] / (1 - end[0])))
    assert moves[1, 0] == pytest.approx(math.log(end[1] / (1 - end[1])))
    assert moves[0, 0] == moves[1, 1] == 0


def test_changes_that_were_seen_cost_less_and_a_class_never_labelled_is_entered_like_any_other():
    labels = [np.tile(np.repeat([0, 1, 0, 1, 0, 2], 10), 5)]
    moves = fit_moves(labels, num_classes=4)
    assert moves[0, 1] > moves[0, 2] > moves[1, 2]  # twice as often as to 2; 1 was never followed by 2
    end = (15 + 1) / (150 + 299 / 29)  # of class 0: 15 bouts, all seen to end; of all: 299 pairs, 29 ends
    assert math.exp(moves[0, 3]) == pytest.approx(end / (1 - end) / 3)
    assert np.isfinite(moves).all()
    assert np.isfinite(fit_moves([], num_classes=3)).all()
