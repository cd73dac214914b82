import warnings

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from tarpon.train.metrics.confusion import frame_scores, macro_f1, ratio
from tarpon.train.tasks.mouse.metrics.trial import count_confusion


def flat(trials):
    true = np.concatenate([trial.actions for trial in trials])
    pred = np.concatenate([trial.probs.argmax(1) for trial in trials])
    return true[true >= 0], pred[true >= 0]


def test_hand_worked_matrix(answered):
    # truth 0 0 0 1 1 -; answer 0 0 1 1 0 2: class 0 tp 2 fp 1 fn 1, F1 4/6; class 1 tp 1 fp 1 fn 1, F1 1/2
    matrix = count_confusion([answered([0, 0, 0, 1, 1, -1], [0, 0, 1, 1, 0, 2])], 3)
    assert matrix.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    out = frame_scores(matrix, names=["a", "b", "c"])
    assert out["macro_f1"] == pytest.approx((4 / 6 + 1 / 2) / 2)
    assert out["accuracy"] == 3 / 5
    assert out["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert out["majority_macro_f1"] == pytest.approx((2 * 3 / (5 + 3) + 0) / 2)  # always 0: F1 6/8 and 0
    assert np.isnan([out["f1_c"], out["precision_c"], out["recall_c"]]).all()
    assert out["frames"] == 5


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_sklearn(seed, random_trials):
    trials = random_trials(seed, count=1 + seed % 4)
    true, pred = flat(trials)
    present = np.unique(true)
    matrix = count_confusion(trials, 4)
    assert matrix.dtype == np.int64
    assert np.array_equal(matrix, confusion_matrix(true, pred, labels=range(4)))
    out = frame_scores(matrix, names=list("abcd"))
    assert out["macro_f1"] == pytest.approx(f1_score(true, pred, labels=present, average="macro", zero_division=0))
    assert out["accuracy"] == pytest.approx(accuracy_score(true, pred))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn warns of classes that are only predicted
        assert out["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, pred))
    table = precision_recall_fscore_support(true, pred, labels=range(4), zero_division=np.nan)
    for c, name in enumerate("abcd"):
        assert out[f"precision_{name}"] == pytest.approx(table[0][c], nan_ok=True)
        assert out[f"recall_{name}"] == pytest.approx(table[1][c], nan_ok=True)
        assert out[f"support_{name}"] == table[3][c]
        if c in present:
            assert out[f"f1_{name}"] == pytest.approx(table[2][c])
        else:
            assert np.isnan(out[f"f1_{name}"])
    most = np.bincount(true).argmax()
    bar = f1_score(true, np.full_like(true, most), labels=present, average="macro", zero_division=0)
    assert out["majority_macro_f1"] == pytest.approx(bar)


def test_macro_f1_of_many_matrices_is_that_of_each():
    matrices = np.random.default_rng(0).integers(0, 3, (50, 3, 3)) * np.random.default_rng(1).integers(0, 2, (50, 3, 1))
    together = macro_f1(matrices)
    assert np.isnan(macro_f1(np.zeros((2, 3, 3)))).all()
    np.testing.assert_array_equal(together, [macro_f1(matrix) for matrix in matrices])


def test_ratio_of_nothing_is_nan():
    np.testing.assert_array_equal(ratio(np.array([1, 0, 3]), np.array([2, 0, 0])), [0.5, np.nan, np.nan])
