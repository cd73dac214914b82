from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tarpon.train.tasks.mouse.metrics.thresholds import GRID, fit_thresholds, thresholded_macro_f1

CLASSES = ["a", "b", "c", "d"]


@pytest.mark.parametrize("seed", range(8))
def test_no_other_threshold_is_better(seed, random_trials):
    trials = random_trials(seed)
    true = np.concatenate([trial.actions for trial in trials])
    probs = np.concatenate([trial.probs for trial in trials])[true >= 0]
    true = true[true >= 0]
    thresholds = fit_thresholds(trials, CLASSES)
    reached = []
    for c in range(4):
        f1 = [f1_score(true == c, probs[:, c] >= np.float32(t), zero_division=0) for t in GRID]
        fitted = f1_score(true == c, probs[:, c] >= np.float32(thresholds[c]), zero_division=0)
        assert thresholds[c] in GRID
        assert fitted == max(f1)
        tied = GRID[np.isclose(f1, max(f1))]
        assert abs(thresholds[c] - 0.5) == pytest.approx(np.abs(tied - 0.5).min())
        reached += [fitted] if (true == c).any() else []
    assert thresholded_macro_f1(trials, thresholds) == pytest.approx(np.mean(reached))


def test_hand_worked_threshold(answered):
    # b at .35 and .40 is true, at .30 not: only .35 takes both and nothing else
    trial = replace(answered([1, 1, 0], [0, 0, 0], num_classes=2), probs=np.float32([[0.65, 0.35], [0.6, 0.4], [0.7, 0.3]]))
    thresholds = fit_thresholds([trial], ["a", "b"])
    assert thresholds[1] == pytest.approx(0.35)
    assert thresholds[0] == pytest.approx(0.7)  # a is true only at .70
    assert thresholded_macro_f1([trial], thresholds) == 1.0
    assert thresholded_macro_f1([trial], np.array([0.5, 0.5])) == pytest.approx((2 / 4 + 0) / 2)  # a passes three times


def test_absent_class_keeps_one_half(answered):
    trials = [answered([0, 0, 1, -1], [0, 2, 1, 2])]
    thresholds = fit_thresholds(trials, ["a", "b", "c"])
    assert thresholds[2] == 0.5
    assert thresholded_macro_f1(trials, thresholds) == pytest.approx((2 / 3 + 1) / 2)  # a: tp 1, fn 1; c has no true frame
    assert np.isnan(thresholded_macro_f1([answered([-1], [0])], thresholds))


def test_wrong_number_of_thresholds_is_refused(random_trials):
    with pytest.raises(ValueError, match="one a class"):
        thresholded_macro_f1(random_trials(0), np.full(3, 0.5))
