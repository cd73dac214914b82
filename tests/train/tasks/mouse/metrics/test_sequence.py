import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tarpon.train.metrics.names import score_keys
from tarpon.train.tasks.mouse.metrics.sequence import score, score_trials

CLASSES = ["rest", "Paw withdraw", "lick", "walk"]
POINTS = ["mouth", "tail_base", "L_frontpaw"]
BOUNDED = ("accuracy", "macro_f1", "f1_", "precision_", "recall_", "segment_f1", "edit", "pck", "balanced")


def perfect(trial, *, num_classes=4):
    probs = np.eye(num_classes, dtype=np.float32)[np.maximum(trial.actions, 0)]
    return replace(trial, probs=probs, keypoints_pred=trial.keypoints[..., :2].copy())


def test_a_perfect_predictor_scores_exactly_one(random_trials):
    trials = [perfect(trial) for trial in random_trials(0)]
    out = score(trials, classes=CLASSES, points=POINTS)
    ones = {key for key in out if key.startswith(BOUNDED)}
    zeros = {key for key in out if key.startswith(("keypoint", "onset"))}
    assert {f"segment_f1_{p}{end}" for p in (10, 25, 30, 50) for end in ("", "_no_rest")} <= ones
    assert {"macro_f1_low", "macro_f1_high", "edit", "edit_no_rest", "f1_paw_withdraw", "pck_05_l_frontpaw"} <= ones
    assert {"keypoint_mae", "keypoint_mae_px_mouth", "keypoint_mae_high", "onset_error_frames_lick"} <= zeros
    assert {key: out[key] for key in ones} == dict.fromkeys(ones, 1.0)
    assert {key: out[key] for key in zeros} == dict.fromkeys(zeros, 0.0)
    assert all(out[f"bouts_true_{c}"] == out[f"bouts_pred_{c}"] for c in score_keys(CLASSES))
    assert 0 < out["majority_macro_f1"] < 1


@pytest.mark.parametrize("seed", range(5))
def test_scores_hang_together(seed, random_trials):
    trials = random_trials(seed)
    out = score(trials, classes=CLASSES, points=POINTS)
    assert json.loads(json.dumps(out, allow_nan=False)) == out
    assert all(type(value) is float for value in out.values())
    assert all(0 <= value <= 1 for key, value in out.items() if key.startswith(BOUNDED))
    assert out["segment_f1_10"] >= out["segment_f1_25"] >= out["segment_f1_30"] >= out["segment_f1_50"]
    assert out["macro_f1_low"] <= out["macro_f1_high"]
    assert out["keypoint_mae_low"] < out["keypoint_mae"] < out["keypoint_mae_high"]
    per_class = [out[f"f1_{c}"] for c in score_keys(CLASSES) if f"f1_{c}" in out]
    assert out["macro_f1"] == pytest.approx(np.mean(per_class))
    assert out["frames"] == sum(out[f"support_{c}"] for c in score_keys(CLASSES)) == sum((t.actions >= 0).sum() for t in trials)
    assert out["trials"] == len(trials)


def test_a_class_has_the_interval_of_its_f1_over_resampled_groups(random_trials):
    """Against scikit-learn on the frames of each resample; none where all of a class is in one group."""
    trials = [replace(trial, group=f"g{number % 3}") for number, trial in enumerate(random_trials(2))]
    seen = [trial.actions >= 0 for trial in trials]
    truth, said = (
        [(trial.actions if i else trial.predicted)[held] for trial, held in zip(trials, seen, strict=True)] for i in (1, 0)
    )
    own = [np.flatnonzero([trial.group == f"g{group}" for trial in trials]) for group in range(3)]
    drawn = np.random.default_rng(0).integers(3, size=(1000, 3))
    cached: dict[tuple, float] = {}
    for groups in {tuple(sorted(row)) for row in drawn.tolist()}:
        rows = [row for group in groups for row in own[group]]
        true, answer = (np.concatenate([frames[row] for row in rows]) for frames in (truth, said))
        cached[groups] = f1_score(true, answer, labels=[1], average="macro", zero_division=0)
    expected = np.quantile([cached[tuple(sorted(row))] for row in drawn.tolist()], [0.025, 0.975])
    out = score(trials, classes=CLASSES, points=POINTS)
    assert [out["f1_paw_withdraw_low"], out["f1_paw_withdraw_high"]] == pytest.approx(expected)
    assert out["f1_paw_withdraw_low"] < out["f1_paw_withdraw"] < out["f1_paw_withdraw_high"]
    alone = [
        trial if trial.group == "g0" else replace(trial, actions=np.where(trial.actions == 1, 0, trial.actions))
        for trial in trials
    ]
    out = score(alone, classes=CLASSES, points=POINTS)
    assert "f1_paw_withdraw" in out
    assert "f1_paw_withdraw_low" not in out


def test_the_order_of_the_trials_does_not_matter(random_trials):
    trials = random_trials(4)
    assert score(trials[::-1], classes=CLASSES) == pytest.approx(score(trials, classes=CLASSES), rel=1e-12)


def test_bouts_are_found_per_trial(answered):
    # a: 0 0 1 1 answered 0 0 1 1; b: 1 1 0 0 answered 1 0 0 0.
    # Alone: four true bouts; b's 1 has IoU 1/2 and its 0 2/3, so all four are found at 50.
    # Glued: 0, 1 (4 frames), 0 -> three bouts. Edit 1 either way. Onsets seen: a's 1 (0 off), b's 0 (1 early).
    a, b = answered([0, 0, 1, 1], [0, 0, 1, 1], key="a"), answered([1, 1, 0, 0], [1, 0, 0, 0], key="b")
    glued = answered([0, 0, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0, 0, 0])
    names = ["rest", "lick", "walk"]
    alone, together = score([a, b], classes=names), score([glued], classes=names)
    assert alone["bouts_true_lick"] == 2
    assert together["bouts_true_lick"] == 1
    assert alone["segment_f1_50"] == 1.0
    assert alone["onset_error_frames"] == 0.5
    assert alone["onset_error_frames_rest"] == 1.0
    assert alone["onset_error_frames_lick"] == 0.0
    assert "onset_error_frames_walk" not in alone
    assert alone["accuracy"] == together["accuracy"] == 7 / 8


def test_segment_f1_pools_counts_and_not_scores(answered):
    # a finds its 1 of 1 lick (F1 1); b finds 0 of its 2 and invents 1 (F1 0): pooled 2*1 / (2*1 + 1 + 2) = .4, not .5
    a = answered([0, 1, 1, 0], [0, 1, 1, 0], key="a")
    b = answered([1, 0, 1, 0], [0, 0, 0, 1], key="b")
    out = score([a, b], classes=["rest", "lick", "walk"])
    assert out["segment_f1_50_no_rest"] == pytest.approx(0.4)
    # edit without rest: a 1, b orders lick lick and lick -> 1 - 1/2; mean .75
    assert out["edit_no_rest"] == pytest.approx(0.75)


def test_undefined_scores_are_left_out(answered):
    # one trial, one group, only rest: no interval, no bout but rest, no keypoints
    out = score([answered([0, 0, -1], [0, 0, 1])], classes=["rest", "lick", "walk"], points=["mouth"])
    absent = {
        "macro_f1_low",
        "keypoint_mae",
        "pck_05_mouth",
        "f1_lick",
        "recall_lick",
        "precision_lick",
        "edit_no_rest",
        "segment_f1_50_no_rest",
        "onset_error_frames",
        "keypoint_mae_low",
    }
    assert not absent & out.keys()
    assert (out["macro_f1"], out["edit"], out["support_lick"], out["frames"]) == (1.0, 1.0, 0.0, 2.0)


def test_a_split_without_labels_still_scores_keypoints(random_trials):
    trials = [replace(trial, actions=np.full_like(trial.actions, -1)) for trial in random_trials(0)]
    out = score(trials, classes=CLASSES, points=POINTS)
    assert not {"macro_f1", "accuracy", "edit", "segment_f1_50", "macro_f1_low", "majority_macro_f1"} & out.keys()
    assert {"keypoint_mae", "keypoint_mae_low", "pck_10_mouth"} <= out.keys()
    assert out["frames"] == 0


def test_trials_without_keypoints_do_not_touch_the_others_error(random_trials):
    trials = random_trials(0)
    mixed = [*trials, *(replace(trial, key="x" + trial.key, keypoints=None) for trial in trials)]
    one, both = (score(part, classes=CLASSES, points=POINTS) for part in (trials, mixed))
    assert {key: one[key] for key in one if "keypoint" in key} == {key: both[key] for key in both if "keypoint" in key}


def test_a_class_that_is_only_predicted_does_not_enter_the_mean(answered):
    # truth 0 0 1, answer 0 2 1: F1 of 0 is 2/3, of 1 is 1; 2 has only a false positive
    out = score([answered([0, 0, 1], [0, 2, 1])], classes=["rest", "lick", "walk"])
    assert out["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert "f1_walk" not in out
    assert out["precision_walk"] == 0.0


def test_rest_may_be_another_class_or_none(answered):
    trial = answered([0, 0, 1, 1], [0, 0, 2, 1])
    names = ["lick", "walk", "rest"]
    assert score([trial], classes=names, rest=0)["bouts_pred_rest"] == 1
    # 1 found at 1/2; 2 invented. Without class 2: 4/4; without class 0: 2/3
    assert score([trial], classes=names, rest=2)["segment_f1_50_no_rest"] == 1.0
    assert score([trial], classes=names, rest=0)["segment_f1_50_no_rest"] == pytest.approx(2 / 3)
    assert not any("no_rest" in key for key in score([trial], classes=names, rest=None))
    with pytest.raises(ValueError, match="rest=3"):
        score([trial], classes=names, rest=3)


def test_each_trial_is_scored_as_if_alone(random_trials):
    trials = random_trials(2)
    trials[1] = replace(trials[1], keypoints=None)
    trials[2] = replace(trials[2], actions=np.full_like(trials[2].actions, -1))
    rows = score_trials(trials, classes=CLASSES)
    assert [row["key"] for row in rows] == [trial.key for trial in trials]
    assert set(rows[0]) == {"key", "accuracy", "macro_f1", "edit", "segment_f1_50", "keypoint_mae"}
    assert set(rows[1]) == {"key", "accuracy", "macro_f1", "edit", "segment_f1_50"}
    assert set(rows[2]) == {"key", "keypoint_mae"}
    for trial, row in zip(trials, rows, strict=True):
        alone = score([trial], classes=CLASSES)
        assert {key: alone[key] for key in row if key != "key"} == {key: row[key] for key in row if key != "key"}
    known = trials[0].actions >= 0
    true, pred = trials[0].actions[known], trials[0].predicted[known]
    assert rows[0]["macro_f1"] == pytest.approx(f1_score(true, pred, labels=np.unique(true), average="macro"))


def test_names_become_keys():
    assert score_keys(["Paw withdraw", "pawShake", "L_frontpaw", "a/b-c", "class 2"]) == [
        "paw_withdraw",
        "paw_shake",
        "l_frontpaw",
        "a_b_c",
        "class_2",
    ]
    for names in (["a b", "a_b"], ["", "a"], ["?"]):
        with pytest.raises(ValueError, match="names must differ"):
            score_keys(names)


def test_a_name_that_makes_a_key_twice_is_refused(random_trials):
    with pytest.raises(ValueError, match="keypoint_mae_low would be given twice"):
        score(random_trials(0), classes=CLASSES, points=["low", "tail", "paw"])
