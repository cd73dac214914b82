"""Scores of classes and hours: by hand, against scikit-learn, and what must not change them."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from tarpon.train.tasks.cells.metrics.classes import score_classes
from tarpon.train.tasks.cells.metrics.scores import combine_scores, score, score_stacks


def test_scores_are_those_of_sklearn(drawn):
    rows = drawn()
    got, said = score(rows), rows.prob >= 0.5
    assert got["auc"] == pytest.approx(oracle.roc_auc_score(rows.label, rows.prob))
    assert got["accuracy"] == pytest.approx(oracle.accuracy_score(rows.label, said))
    assert got["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(rows.label, said))
    assert got["precision"] == pytest.approx(oracle.precision_score(rows.label, said))
    assert got["recall"] == pytest.approx(oracle.recall_score(rows.label, said))
    assert got["f1"] == pytest.approx(oracle.f1_score(rows.label, said))
    for end, at in {"": rows.label >= 0, "_uninfected": rows.label == 0, "_infected": rows.label == 1}.items():
        true, told = rows.target[at].astype(float), rows.predicted[at].astype(float)
        assert got[f"mae{end}"] == pytest.approx(oracle.mean_absolute_error(true, told))
        assert got[f"mse{end}"] == pytest.approx(oracle.mean_squared_error(true, told))
        assert got[f"rmse{end}"] == pytest.approx(oracle.mean_squared_error(true, told) ** 0.5)
        constant = 20.0 if not end else 21.0
        assert got[f"constant_mae{end}"] == pytest.approx(np.abs(true - constant).mean())
    assert got["combined"] == pytest.approx(0.6 * got["f1"] + 0.4 * (1 - got["mae"] / 48))
    assert got["auc_clock"] == 0.5
    assert got["rows"] == 930
    assert got["stacks"] == 10


def test_a_perfect_predictor_is_exact(made, drawn):
    rows = drawn()
    perfect = made(rows.label, rows.label, rows.clock, rows.target, target=rows.target, stack=rows.stack)
    got = score(perfect)
    whole = ("auc", "accuracy", "balanced_accuracy", "precision", "recall", "f1", "auc_time_matched", "combined", "auc_stack")
    assert {name: got[name] for name in whole} == dict.fromkeys(whole, 1.0)
    zero = ("mae", "rmse", "mse", "ece", "mae_stack", "mae_infected", "mae_low", "mae_high")
    assert {name: got[name] for name in zero} == dict.fromkeys(zero, 0.0)
    assert got["auc_95_from_h"] == 3.0  # the middle of the first window
    assert (got["f1_low"], got["auc_low"]) == (1.0, 1.0)


def test_order_of_pages_changes_nothing(drawn):
    rows = drawn()
    order = np.random.default_rng(1).permutation(len(rows))
    one, two = score(rows), score(rows.take(order))
    assert one.keys() == two.keys()
    for name in one:
        assert one[name] == pytest.approx(two[name], rel=1e-9), name


def test_by_hand(made):
    rows = made([0, 0, 1, 1], [0.2, 0.5, 0.5, 0.1], [1, 2, 3, 4], [1, 2, 5, 0], stack=list("aabb"))
    got = score(rows, resamples=0)
    assert got["accuracy"] == 0.5  # 0.5 is a yes
    assert got["f1"] == 0.5
    assert got["auc"] == (0.5 + 1) / 4
    assert got["mae"] == 1.5
    assert got["mse"] == 5.0
    assert got["mae_infected"] == 3.0
    assert got["auc_clock"] == 1.0
    assert got["acc_stack"] == 0.5
    assert "auc_time_matched" not in got  # no hour has both classes
    assert not [name for name in got if name.endswith("_low")]


def test_one_class_alone_leaves_out_what_is_undefined(made):
    rows = made([0, 0, 0], [0.1, 0.2, 0.3], [1, 2, 3], [1, 2, 3])
    got = score(rows)
    assert got["accuracy"] == 1.0
    for name in ("auc", "f1", "precision", "recall", "mae_infected", "auc_time_matched", "auc_clock", "auc_95_from_h"):
        assert name not in got
    assert got["combined"] == pytest.approx(0.4)
    assert all(np.isfinite(value) for value in got.values())


def test_combined_by_hand():
    assert combine_scores(0.9931, 1.144, highest=48) == pytest.approx(0.98633, abs=1e-5)  # the published run of 100 epochs
    assert combine_scores(1.0, 96.0, highest=48) == 0.6
    assert combine_scores(float("nan"), 24.0, highest=48) == pytest.approx(0.2)


def test_unmatched_hours_show_in_the_clock_and_are_taken_out_of_the_matched_area(made):
    """Infected pages start later, and the model reads nothing but the clock."""
    clock = np.concatenate([np.arange(0, 48, 0.5), np.arange(24, 48, 0.5)])
    label = np.repeat([0, 1], [96, 48])
    got = score(made(label, clock / 48, clock, clock), resamples=0)
    assert got["auc"] == got["auc_clock"] == pytest.approx(0.75)
    assert 0.49 < got["auc_time_matched"] < 0.51


def test_stacks_by_hand(made):
    rows = made([0, 1, 0, 1], [0.2, 0.9, 0.4, 0.3], [1, 2, 3, 4], [2, 2, 1, 4], stack=list("baba"))
    one, two = score_stacks(rows)
    assert (one["stack"], one["label"], one["rows"], one["accuracy"], one["mae"], one["bias"]) == ("a", 1, 2, 0.5, 0.0, 0.0)
    assert one["prob"] == pytest.approx(0.6)
    assert (two["stack"], two["label"], two["accuracy"], two["mae"], two["bias"]) == ("b", 0, 1.0, 1.5, -0.5)


def test_class_scores_when_nothing_is_called_infected():
    got = score_classes(np.array([0, 1]), np.array([0.1, 0.2]))
    assert np.isnan(got["precision"])
    assert got["recall"] == got["f1"] == 0.0
