"""Scores of classes and hours: by hand, against scikit-learn, and what must not change them."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from tarpon.train.tasks.cells.metrics.predictions import PageRows
from tarpon.train.tasks.cells.metrics.scores import (
    Window,
    combine_scores,
    find_good_start,
    score,
    score_classes,
    score_stacks,
    score_windows,
)


def made(label, prob, clock, predicted, *, target=None, stack=None, median: float = 20.0) -> PageRows:
    label = np.asarray(label, np.int64)
    clock = np.asarray(clock, np.float32)
    stack = np.asarray([f"s{value}" for value in label] if stack is None else stack)
    words = {"key": np.arange(len(label)).astype(str), "well": stack, "position": stack, "path": stack}
    return PageRows(
        clamp_range=(0.0, 48.0),
        **words,
        stack=stack,
        page=np.arange(len(label)),
        label=label,
        prob=np.asarray(prob, np.float32),
        clock=clock,
        target=np.asarray(clock if target is None else target, np.float32),
        predicted=np.asarray(predicted, np.float32),
        constant=np.full(len(label), median, np.float32),
        constant_class=np.full(len(label), median + 1, np.float32),
    )


def drawn(seed: int = 0, *, stacks: int = 10, pages: int = 93) -> PageRows:
    """The published shape: 93 pages half an hour apart; both classes at all hours, right more often later."""
    rng = np.random.default_rng(seed)
    page, stack = np.tile(np.arange(pages), stacks), np.repeat(np.arange(stacks), pages)
    label, clock = stack % 2, page / 2
    logit = (2 * label - 1) * 0.12 * clock + rng.normal(0, 1.2, len(page)) + rng.normal(0, 0.7, stacks)[stack]
    target = np.where(label == 1, np.maximum(clock - 2, 0), clock)
    predicted = np.clip(target + rng.normal(0, 3, len(page)), 0, 48)
    names = np.array([f"{'cb'[value]}_p{number // 2}" for number, value in zip(stack, label, strict=True)])
    return made(label, 1 / (1 + np.exp(-logit)), clock, predicted, target=target, stack=names)


def test_scores_are_those_of_sklearn():
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


def test_a_perfect_predictor_is_exact():
    rows = drawn()
    perfect = made(rows.label, rows.label, rows.clock, rows.target, target=rows.target, stack=rows.stack)
    got = score(perfect)
    whole = ("auc", "accuracy", "balanced_accuracy", "precision", "recall", "f1", "auc_time_matched", "combined", "auc_stack")
    assert {name: got[name] for name in whole} == dict.fromkeys(whole, 1.0)
    zero = ("mae", "rmse", "mse", "ece", "mae_stack", "mae_infected", "auc_95_from_h", "mae_low", "mae_high")
    assert {name: got[name] for name in zero} == dict.fromkeys(zero, 0.0)
    assert (got["f1_low"], got["auc_low"]) == (1.0, 1.0)


def test_order_of_pages_changes_nothing():
    rows = drawn()
    order = np.random.default_rng(1).permutation(len(rows))
    one, two = score(rows), score(rows.take(order))
    assert one.keys() == two.keys()
    for name in one:
        assert one[name] == pytest.approx(two[name], rel=1e-9), name


def test_by_hand():
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


def test_one_class_alone_leaves_out_what_is_undefined():
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


def test_published_windows_are_fifteen_and_half_open():
    found = score_windows(drawn())
    assert [window.centre for window in found] == [3.0 * k for k in range(1, 16)]
    assert [window.scores["rows"] for window in found] == [120.0] * 14 + [90.0]  # 12 pages a stack; hours 42 to 46: 9
    rows = drawn()
    at = (rows.clock >= 6) & (rows.clock < 12)
    assert found[2].scores["accuracy"] == pytest.approx(oracle.accuracy_score(rows.label[at], rows.prob[at] >= 0.5))
    assert found[2].scores["mae"] == pytest.approx(np.abs(rows.predicted - rows.target)[at].mean())


@pytest.mark.parametrize("last", [0.0, 2.5, 5.5, 6.0, 46.0, 47.5, 48.0, 50.0])
def test_every_page_is_in_a_window(last):
    clock = np.arange(0, last + 0.1, 0.5)
    found = score_windows(made(np.arange(len(clock)) % 2, clock * 0, clock, clock * 0, target=clock * 0))
    covered = np.zeros(len(clock), bool)
    for window in found:
        covered |= (clock >= window.start) & (clock < window.end)
    assert covered.all()


def test_windows_without_pages_are_left_out_and_of_one_class_have_no_auc():
    found = score_windows(made([0, 1, 1, 1], [0.1, 0.9, 0.8, 0.7], [0, 1, 20, 21], [0, 0, 0, 0]))
    assert [window.start for window in found] == [0.0, 15.0, 18.0]
    assert found[0].scores["auc"] == 1.0
    assert np.isnan(found[1].scores["auc"])


@pytest.mark.parametrize(
    ("areas", "start"),
    [
        ([0.9, 0.96, 0.97], 3.0),
        ([0.99, 0.94, 0.97], 6.0),
        ([0.95, 0.95, 0.95], 0.0),
        ([0.99, 0.99, 0.5], None),
        ([0.9, np.nan, 0.97], 6.0),
        ([0.99, 0.96, np.nan], 0.0),
        ([np.nan, np.nan, np.nan], None),
    ],
)
def test_good_from_the_first_window_after_which_none_fails(areas, start):
    found = [Window(start=3.0 * k, end=3.0 * k + 6, scores={"auc": value}) for k, value in enumerate(areas)]
    got = find_good_start(found)
    assert np.isnan(got) if start is None else got == start


def test_unmatched_hours_show_in_the_clock_and_are_taken_out_of_the_matched_area():
    """Infected pages start later, and the model reads nothing but the clock."""
    clock = np.concatenate([np.arange(0, 48, 0.5), np.arange(24, 48, 0.5)])
    label = np.repeat([0, 1], [96, 48])
    got = score(made(label, clock / 48, clock, clock), resamples=0)
    assert got["auc"] == got["auc_clock"] == pytest.approx(0.75)
    assert 0.49 < got["auc_time_matched"] < 0.51


def test_stacks_by_hand():
    rows = made([0, 1, 0, 1], [0.2, 0.9, 0.4, 0.3], [1, 2, 3, 4], [2, 2, 1, 4], stack=list("baba"))
    one, two = score_stacks(rows)
    assert (one["stack"], one["label"], one["rows"], one["accuracy"], one["mae"], one["bias"]) == ("a", 1, 2, 0.5, 0.0, 0.0)
    assert one["prob"] == pytest.approx(0.6)
    assert (two["stack"], two["label"], two["accuracy"], two["mae"], two["bias"]) == ("b", 0, 1.0, 1.5, -0.5)


def test_intervals_hold_the_score_and_grow_when_stacks_differ():
    got = score(drawn(stacks=12))
    for name in ("auc", "f1", "mae"):
        assert got[f"{name}_low"] <= got[name] <= got[f"{name}_high"]
    rows = drawn(stacks=12)
    lone = made(rows.label, rows.prob, rows.clock, rows.predicted, target=rows.target, stack=np.arange(len(rows)).astype(str))
    by_page = score(lone)  # correlated pages taken for independent ones promise too much
    assert by_page["auc_high"] - by_page["auc_low"] < got["auc_high"] - got["auc_low"]


def test_a_class_of_one_stack_has_no_interval_of_its_scores():
    """Two infected stacks and one uninfected: what another one would change is not in the draws."""
    rows = drawn(stacks=4)
    got = score(rows.take(rows.stack != "c_p0"))
    assert "auc" in got
    assert not {"auc_low", "auc_high", "f1_low", "f1_high"} & got.keys()
    assert got["mae_low"] < got["mae"] < got["mae_high"]
    assert {"auc_low", "f1_low"} <= score(rows).keys()


def test_class_scores_when_nothing_is_called_infected():
    got = score_classes(np.array([0, 1]), np.array([0.1, 0.2]))
    assert np.isnan(got["precision"])
    assert got["recall"] == got["f1"] == 0.0
