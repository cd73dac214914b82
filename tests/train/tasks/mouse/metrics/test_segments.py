import itertools

import numpy as np
import pytest

from tarpon.train.tasks.mouse.metrics.segments import (
    bout_counts,
    edit_score,
    find_runs,
    match_bouts,
    onset_errors,
    segment_counts,
    segment_f1,
)


def random_labels(rng: np.random.Generator, *, frames: int = 60) -> np.ndarray:
    return np.repeat(rng.integers(-1, 3, frames), rng.integers(1, 6, frames))[:frames]


def counts(true, pred, *, iou, ignore=()):
    return [n.tolist() for n in segment_counts(np.array(true), np.array(pred), iou=iou, num_classes=3, ignore=ignore)]


def test_runs_of_a_hand_worked_sequence():
    start, stop, label = find_runs(np.array([2, 2, -1, 2, 0, 0, 0, -1]))
    assert list(zip(start.tolist(), stop.tolist(), label.tolist(), strict=True)) == [(0, 2, 2), (3, 4, 2), (4, 7, 0)]
    assert [len(part) for part in find_runs(np.array([], np.int64))] == [0, 0, 0]
    assert [len(part) for part in find_runs(np.array([-1, -1]))] == [0, 0, 0]


def test_runs_agree_with_groupby():
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = random_labels(rng)
        expected = [
            (at[0], at[-1] + 1, label)
            for label, at in (
                (label, [n for n, _ in part]) for label, part in itertools.groupby(enumerate(labels), lambda x: x[1])
            )
            if label >= 0
        ]
        assert list(zip(*(part.tolist() for part in find_runs(labels)), strict=True)) == expected


def test_iou_off_by_k():
    # a bout of 10 frames found k frames late: 10 - k shared, 10 + k in all. k=3: 7/13 = .538; k=4: 6/14 = .429;
    # k=8: 2/18 = .111; k=9: 1/19 = .053
    true = [0] * 10 + [1] * 10 + [0] * 20
    for late, share in [(0, 1.0), (3, 7 / 13), (4, 6 / 14), (8, 2 / 18), (9, 1 / 19)]:
        pred = [0] * (10 + late) + [1] * 10 + [0] * (20 - late)
        i, j, iou = match_bouts(np.array(true), np.array(pred))
        of_one = find_runs(np.array(true))[2][i] == 1
        assert iou[of_one].tolist() == pytest.approx([share])
        assert j[of_one].tolist() == [1]
        for threshold in (0.1, 0.25, 0.3, 0.5):
            tp, fp, fn = counts(true, pred, iou=threshold, ignore=(0,))
            hit = int(share >= threshold)
            assert (tp[1], fp[1], fn[1]) == (hit, 1 - hit, 1 - hit)


def test_iou_at_the_threshold_is_a_hit():
    # 3 of 10 shared, 5 of 10, 1 of 10: the quotients equal the literals .3, .5, .1
    for shared, threshold in [(3, 0.3), (5, 0.5), (1, 0.1)]:
        tp, fp, fn = counts([1] * 10, [1] * shared + [2] * (10 - shared), iou=threshold)
        assert (tp, fp, fn) == ([0, 1, 0], [0, 0, 1], [0, 0, 0])


def test_best_overlap_is_taken_before_the_first():
    # one true bout [0, 10); predictions [0, 3) (IoU .3) and [4, 10) (IoU .6). First-come would spend the true bout on the
    # first and call the better one false; both give one hit, but at onset and index the pair differs
    true = [1] * 10
    pred = [1] * 3 + [0] + [1] * 6
    i, j, iou = match_bouts(np.array(true), np.array(pred))
    assert (i.tolist(), j.tolist(), iou.tolist()) == ([0], [2], [0.6])
    assert counts(true, pred, iou=0.3) == [[0, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_one_prediction_finds_only_one_bout():
    # true 1 at [0, 4) and [5, 10), predicted 1 at [0, 10): IoU .4 and .5, only the second is a hit
    assert counts([1] * 4 + [0] + [1] * 5, [1] * 10, iou=0.1) == [[0, 1, 0], [0, 0, 0], [1, 1, 0]]


def test_matching_agrees_with_a_plain_greedy_loop():
    rng = np.random.default_rng(1)
    for _ in range(60):
        true, pred = random_labels(rng), random_labels(rng)
        blank = np.where(true < 0, -1, pred)
        left, right = (list(zip(*find_runs(labels), strict=True)) for labels in (true, blank))
        pairs = []
        for (i, a), (j, b) in itertools.product(enumerate(left), enumerate(right)):
            shared = len(set(range(a[0], a[1])) & set(range(b[0], b[1])))
            if a[2] == b[2] and shared:
                pairs.append((-shared / len(set(range(a[0], a[1])) | set(range(b[0], b[1]))), i, j))
        expected, used_i, used_j = [], set(), set()
        for cost, i, j in sorted(pairs):
            if i not in used_i and j not in used_j:
                used_i.add(i)
                used_j.add(j)
                expected.append((i, j, -cost))
        assert list(zip(*(part.tolist() for part in match_bouts(true, pred)), strict=True)) == expected
        for threshold in (0.1, 0.3, 0.5):
            tp, fp, fn = segment_counts(true, pred, iou=threshold, num_classes=3)
            assert tp.sum() == sum(share >= threshold for _, _, share in expected)
            assert (tp + fn).tolist() == np.bincount([a[2] for a in left], minlength=3).tolist()
            assert (tp + fp).tolist() == np.bincount([b[2] for b in right], minlength=3).tolist()


def test_ignored_classes_are_in_no_count():
    true, pred = [0] * 5 + [1] * 5, [0] * 5 + [2] * 5
    assert counts(true, pred, iou=0.5) == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert counts(true, pred, iou=0.5, ignore=(0,)) == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert segment_f1(*segment_counts(np.array(true), np.array(pred), iou=0.5, num_classes=3)) == 0.5  # 2 / (2 + 1 + 1)
    assert np.isnan(segment_f1(*segment_counts(np.zeros(5), np.zeros(5), iou=0.5, num_classes=3, ignore=(0,))))


def test_unlabelled_frames_split_bouts_and_add_no_length():
    # two unlabelled frames in a bout of 6: two bouts of 2 on both sides, found whole, wherever the model puts its edges inside
    true = [1, 1, -1, -1, 1, 1]
    for pred in ([1] * 6, [1, 1, 0, 2, 1, 1]):
        assert bout_counts(np.array(true), np.array(pred), num_classes=3).tolist() == [[0, 2, 0], [0, 2, 0]]
        assert match_bouts(np.array(true), np.array(pred))[2].tolist() == [1.0, 1.0]
        assert edit_score(np.array(true), np.array(pred)) == 1.0
    nothing = np.full(4, -1)
    assert bout_counts(nothing, np.ones(4, int), num_classes=3).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert np.isnan(edit_score(nothing, np.ones(4, int)))


def test_a_trial_alone_is_not_a_glued_one():
    # two trials, rest then 1 and 1 then rest: glued, the two bouts of 1 become one
    first, second = [0] * 4 + [1] * 4, [1] * 4 + [0] * 4
    alone = bout_counts(np.array(first), np.array(first), num_classes=2) * 2
    glued = bout_counts(np.array(first + second), np.array(first + second), num_classes=2)
    assert alone.tolist() == [[2, 2], [2, 2]]
    assert glued.tolist() == [[2, 1], [2, 1]]


def test_edit_of_hand_worked_orders():
    # orders 0 1 0 2 and 0 2: two deletions of four -> 1 - 2/4
    assert edit_score(np.array([0, 0, 1, 0, 2]), np.array([0, 0, 0, 0, 2])) == 0.5
    # without 0: 1 2 and 2: one deletion of two
    assert edit_score(np.array([0, 0, 1, 0, 2]), np.array([0, 0, 0, 0, 2]), ignore=(0,)) == 0.5
    assert edit_score(np.array([0, 1]), np.array([1, 0])) == 0.0  # 0 1 -> 1 0 takes two steps of two
    assert edit_score(np.array([0, 0]), np.array([1, 0]), ignore=(0,)) == 0.0  # an invented bout, none to find
    assert np.isnan(edit_score(np.array([0, 0]), np.array([0, 0]), ignore=(0,)))


def test_edit_agrees_with_the_textbook_table():
    rng = np.random.default_rng(2)
    for _ in range(60):
        true, pred = rng.integers(0, 3, (2, 40))
        left, right = (find_runs(labels)[2] for labels in (true, pred))
        table = np.add.outer(np.arange(len(left) + 1), np.arange(len(right) + 1))
        for i, j in itertools.product(range(1, len(left) + 1), range(1, len(right) + 1)):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (left[i - 1] != right[j - 1]))
        assert edit_score(true, pred) == pytest.approx(1 - table[-1, -1] / max(len(left), len(right)))


def test_onset_errors_are_signed_and_only_of_onsets_that_were_seen():
    # rest runs from frame 0, so its onset is unknown; 1 starts 2 late; rest again 1 early; 2 after a gap: unknown
    true = np.array([0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, -1, 2, 2])
    pred = np.array([0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 2, 2, 2])
    frames, label = onset_errors(true, pred)
    assert dict(zip(label.tolist(), frames.tolist(), strict=True)) == {1: 2, 0: -1}
    assert len(onset_errors(true, pred, iou=0.8)[0]) == 0  # IoU 2/5 and 3/4


def test_uneven_lengths_and_a_zero_threshold_are_refused():
    with pytest.raises(ValueError, match="one length"):
        match_bouts(np.zeros(3, int), np.zeros(4, int))
    with pytest.raises(ValueError, match="iou=0"):
        segment_counts(np.zeros(3, int), np.zeros(3, int), iou=0, num_classes=1)
