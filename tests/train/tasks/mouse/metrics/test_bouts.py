"""The filter against hand-worked cases, a slow oracle and its invariants; the tables against answers known by hand."""

import itertools
import math

import numpy as np
import pytest

from tarpon.train.tasks.mouse.metrics.bouts import class_bouts, merge_short, nearest_bouts
from tarpon.train.tasks.mouse.metrics.segments import bout_counts, find_runs, onset_errors


def merged(labels, min_bout):
    return merge_short(np.array(labels), min_bout=min_bout).tolist()


@pytest.mark.parametrize(
    ("labels", "min_bout", "expected"),
    [
        ([0, 0, 0, 1, 0, 0], 2, [0, 0, 0, 0, 0, 0]),  # inside one class: swallowed, and both sides become one bout
        ([0, 0, 1, 2, 2, 2], 2, [0, 0, 2, 2, 2, 2]),  # the longer neighbour
        ([0, 0, 1, 2, 2], 2, [0, 0, 0, 2, 2]),  # of equals the one before
        ([1, 0, 0, 2], 2, [0, 0, 0, 0]),  # ends have one neighbour
        ([0, 1, 0, 1, 0, 1], 2, [1, 1, 1, 1, 1, 1]),  # alternating: the first goes first, and then has the longest
        ([0, 1, 2], 2, [1, 1, 1]),  # all short: 0 joins 1, then 2 joins them
        ([0, 0, 1, 1, 2, 2, 2], 3, [1, 1, 1, 1, 2, 2, 2]),  # two short ones make a long one
        ([0, 0, 0, 1, 2, 2, 0, 0, 0], 3, [0] * 9),  # shortest first: 1 goes to 0, then 2 2 is between zeros
        ([0, 0, 0, 1, 1, 2, 1, 0, 0, 0], 3, [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]),  # 2 heals into ones, which are then long enough
        ([2, 2, 2, 2], 3, [2, 2, 2, 2]),
        ([2], 5, [2]),  # one bout shorter than asked for has nowhere to go
        ([0, 0, 1, 1, 1, 2], 100, [1, 1, 1, 1, 1, 1]),  # longer than the video: one bout is left
        ([], 3, []),
    ],
)
def test_short_bouts_go_to_the_longer_neighbour(labels, min_bout, expected):
    assert merged(labels, min_bout) == expected


def slow(labels, min_bout):
    """The rule as it is told, a list of [label, frames] at a time."""
    bouts = [[label, len(list(part))] for label, part in itertools.groupby(labels)]
    while len(bouts) > 1 and min(size for _, size in bouts) < min_bout:
        n = min(range(len(bouts)), key=lambda i: bouts[i][1])
        sides = [i for i in (n - 1, n + 1) if 0 <= i < len(bouts)]
        bouts[n][0] = bouts[max(sides, key=lambda i: bouts[i][1])][0]
        frames = [label for label, size in bouts for _ in range(size)]
        bouts = [[label, len(list(part))] for label, part in itertools.groupby(frames)]
    return [label for label, size in bouts for _ in range(size)]


def random_labels(seed):
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(0, 4, 40), rng.integers(1, 7, 40))[: rng.integers(1, 120)]


@pytest.mark.parametrize("min_bout", [1, 2, 3, 5, 9, 1000])
def test_the_filter_agrees_with_the_rule_and_keeps_its_promises(min_bout):
    for seed in range(60):
        labels = random_labels(seed)
        before = labels.copy()
        out = merge_short(labels, min_bout=min_bout)
        assert out.tolist() == slow(labels.tolist(), min_bout)
        start, stop, _ = find_runs(out)
        assert len(start) == 1 or (stop - start).min() >= min_bout
        assert np.array_equal(merge_short(out, min_bout=min_bout), out)
        assert set(out) <= set(before)
        if min_bout == 1:
            assert np.array_equal(out, before)
        assert np.array_equal(labels, before)  # the argument is left alone
        assert not np.shares_memory(out, labels)


def test_an_hour_of_flicker_is_filtered_in_a_moment():
    labels = np.random.default_rng(0).integers(0, 6, 108_000)  # quadratic work would take minutes
    start, stop, _ = find_runs(merge_short(labels, min_bout=10))
    assert (stop - start).min() >= 10


def test_what_cannot_be_filtered_is_refused():
    with pytest.raises(ValueError, match="min_bout=0"):
        merged([0, 1], 0)
    with pytest.raises(ValueError, match="unlabelled"):
        merged([0, -1], 2)
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        merged([[0, 1]], 2)


def test_the_class_table_by_hand(answered):
    true = [0] * 4 + [1] * 4 + [0] * 4 + [1] * 2 + [0] * 6
    pred = [0] * 5 + [1] * 3 + [0] * 10 + [1] * 1 + [0] * 1
    first = answered(true, pred)
    second = answered([1, 1, 0, 0], [1, 1, 1, 0], key="b")
    zero, one, two = class_bouts([first, second], num_classes=3)
    assert (one.true, one.predicted, one.found) == (3, 3, 2)
    assert one.frames_true == 2  # 4, 2, 2
    assert one.frames_predicted == 3  # 3, 1, 3
    assert one.onset_error == 1  # that of the second trial ran from the first frame, so its onset was not seen
    # rest 4 against 5; 10 frames against the true 4 (iou .4), later 6 and 1; in the second trial 2 against 1 (iou .5)
    assert (zero.true, zero.predicted, zero.found) == (4, 4, 3)
    assert (zero.frames_true, zero.frames_predicted) == (4, 3)
    assert (two.true, two.predicted, two.found) == (0, 0, 0)
    assert all(map(math.isnan, (two.frames_true, two.frames_predicted, two.onset_error)))


def test_the_class_table_agrees_with_the_scores_of_bouts(random_trials):
    trials = random_trials(3)
    rows = class_bouts(trials, num_classes=4)
    counts = sum(bout_counts(trial.actions, trial.predicted, num_classes=4) for trial in trials)
    assert [[row.true for row in rows], [row.predicted for row in rows]] == counts.tolist()
    assert all(row.found <= min(row.true, row.predicted) for row in rows)
    onsets = [onset_errors(trial.actions, trial.predicted, iou=0.3) for trial in trials]
    for c, row in enumerate(rows):
        late = [abs(frames) for error, label in onsets for frames in error[label == c]]
        assert row.onset_error == pytest.approx(np.median(late) if late else math.nan, nan_ok=True)
    assert class_bouts([], num_classes=2)[1].true == 0


def told(true, pred):
    return [(row.onset, row.offset, row.predicted, row.iou) for row in nearest_bouts(np.array(true), np.array(pred), label=1)]


def test_every_true_bout_is_told_with_the_nearest_answer():
    true = [0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0]
    pred = [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1]
    assert told(true, pred) == [(1, 4, (2, 3), 0.5), (8, 9, (10, 11), 0.0)]
    assert told(true, [0] * 12) == [(1, 4, None, 0.0), (8, 9, None, 0.0)]
    assert told([0] * 12, pred) == []


def test_overlap_comes_before_a_nearer_onset_and_a_taken_answer_is_still_told():
    #        true onset 3; one answer starts at 2 and ends before it, the other starts at 5 and overlaps
    assert told([0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 1, 0, 0, 1, 1, 0]) == [(3, 6, (5, 6), 0.5)]
    # one answer over two true bouts: paired with the longer, told with its overlap beside the other
    assert told([1, 1, 1, 0, 1], [1, 1, 1, 1, 1]) == [(0, 2, (0, 4), 0.6), (4, 4, (0, 4), 0.2)]


def test_frames_that_nobody_labelled_are_no_part_of_an_answer():
    assert told([-1, 1, 1, 0, -1], [1, 1, 1, 0, 1]) == [(1, 2, (1, 2), 1.0)]
