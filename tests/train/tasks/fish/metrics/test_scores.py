"""Scores of a whole split against scikit-learn on the known rows, and cases worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics

from tarpon.train.tasks.fish.metrics.predictions import AttributeNames, AttributeRows
from tarpon.train.tasks.fish.metrics.scores import combine_scores, score

HABITATS = ("Tropical", "Polar", "freshwater")
NAMES = AttributeNames(
    families=tuple("abcdef"),
    orders=("p", "q", "r"),
    habitats=HABITATS,
    feedings=("benthic", "pelagic"),
    tasks=("family", "order"),
    family_order=np.array([0, 0, 1, 1, 2, 2]),
    train_images=np.array([500, 100, 99, 10, 9, 0]),
)


def split(count: int = 300, *, seed: int = 0, missing: int = 30, groups: int = 60) -> AttributeRows:
    """Answers that are right about half the time; family f never occurs; the first `missing` rows lack all attributes."""
    rng = np.random.default_rng(seed)
    family = rng.integers(0, 5, count)
    order = NAMES.family_order[family]
    guess = np.where(rng.random(count) < 0.5, family, rng.integers(0, 6, count))
    habitat = rng.integers(0, 2, (count, 3))
    troph = rng.uniform(2, 5, count).astype(np.float32)
    feeding = rng.integers(0, 2, count)
    habitat[:missing], troph[:missing], feeding[:missing] = -1, np.nan, -1
    return AttributeRows(
        names=NAMES,
        key=np.array([f"k{i}" for i in range(count)]),
        group=np.array([f"g{i % groups}" for i in range(count)]),
        family=family,
        family_pred=guess,
        family_rank=np.where(guess == family, 0, rng.integers(1, 6, count)),
        family_confidence=rng.random(count, dtype=np.float32),
        order=order,
        order_pred=np.where(rng.random(count) < 0.6, order, rng.integers(0, 3, count)),
        habitat=habitat,
        habitat_prob=(0.3 * np.maximum(habitat, 0) + 0.7 * rng.random((count, 3))).astype(np.float32),
        troph=troph,
        troph_pred=rng.uniform(2, 5, count).astype(np.float32),
        feeding=feeding,
        feeding_pred=rng.integers(0, 2, count),
        gates=rng.dirichlet([1, 1, 1, 1], (count, 2)).astype(np.float32),
    )


def perfect(rows: AttributeRows) -> AttributeRows:
    known = (rows.habitat >= 0).all(1, keepdims=True)
    return replace(
        rows,
        family_pred=rows.family,
        family_rank=np.zeros_like(rows.family_rank),
        order_pred=rows.order,
        habitat_prob=np.where(known, rows.habitat, 0.5).astype(np.float32),
        troph_pred=np.nan_to_num(rows.troph),
        feeding_pred=np.maximum(rows.feeding, 0),
    )


def test_families_orders_and_feeding_agree_with_scikit_learn():
    rows = split()
    got = score(rows, resamples=0)
    for taxon in ("family", "order"):
        true, said = getattr(rows, taxon), getattr(rows, f"{taxon}_pred")
        assert got[f"acc_{taxon}"] == pytest.approx(metrics.accuracy_score(true, said))
        recall = metrics.recall_score(true, said, labels=np.unique(true), average="macro", zero_division=0)
        assert got[f"balanced_acc_{taxon}"] == pytest.approx(recall)
    assert got["acc_feeding"] == pytest.approx(metrics.accuracy_score(rows.feeding[30:], rows.feeding_pred[30:]))
    assert got["acc5_family"] == pytest.approx((rows.family_rank < 5).mean())


def test_habitats_and_troph_agree_with_scikit_learn_on_the_known_rows():
    rows = split()
    got = score(rows, resamples=0)
    true, prob = rows.habitat[30:], rows.habitat_prob[30:]
    said = prob >= 0.5
    assert got["f1_habitat"] == pytest.approx(metrics.f1_score(true, said, average="macro"))
    assert got["auroc_habitat"] == pytest.approx(metrics.roc_auc_score(true, prob, average="macro"))
    assert got["exact_habitat"] == pytest.approx(metrics.accuracy_score(true, said))
    for i, label in enumerate(("tropical", "polar", "freshwater")):
        assert got[f"f1_habitat_{label}"] == pytest.approx(metrics.f1_score(true[:, i], said[:, i]))
        assert got[f"auroc_habitat_{label}"] == pytest.approx(metrics.roc_auc_score(true[:, i], prob[:, i]))
    assert got["mae_troph"] == pytest.approx(metrics.mean_absolute_error(rows.troph[30:], rows.troph_pred[30:]))
    assert got["rmse_troph"] == pytest.approx(metrics.root_mean_squared_error(rows.troph[30:], rows.troph_pred[30:]))
    assert (got["rows"], got["rows_habitat"], got["rows_troph"]) == (300, 270, 270)


def test_a_perfect_answer_scores_exactly_one():
    rows = perfect(split())
    got = score(rows)
    for name, value in got.items():
        if name.startswith(("acc", "balanced_acc", "f1", "auroc", "exact", "consistency")):
            assert value == 1.0, name
    assert got["mae_troph"] == got["rmse_troph"] == 0.0
    assert got["composite"] == got["composite_low"] == got["composite_high"] == 2.0


def test_answers_on_rows_without_attributes_change_no_attribute_score():
    rows = split()
    prob, troph, feeding = rows.habitat_prob.copy(), rows.troph_pred.copy(), rows.feeding_pred.copy()
    prob[:30], troph[:30], feeding[:30] = 1.0, 99.0, 1 - feeding[:30]
    other = replace(rows, habitat_prob=prob, troph_pred=troph, feeding_pred=feeding)
    assert score(other) == score(rows)
    assert score(other)["f1_habitat_low"] < score(other)["f1_habitat"]


def recall_of(rows: AttributeRows, families: list[int]) -> float:
    """Mean recall of some families, of those that occur."""
    there = np.intersect1d(families, rows.family)
    return metrics.recall_score(rows.family, rows.family_pred, labels=there, average="macro", zero_division=0)


def test_buckets_go_by_training_images():
    rows = split()
    got = score(rows, resamples=0)
    for name, members in (("common", [0, 1]), ("medium", [2, 3]), ("rare", [4, 5])):
        inside = np.isin(rows.family, members)
        assert got[f"rows_family_{name}"] == inside.sum()
        assert got[f"acc_family_{name}"] == pytest.approx((rows.family == rows.family_pred)[inside].mean())
        assert got[f"balanced_acc_family_{name}"] == pytest.approx(recall_of(rows, members))
    assert got["rows_family_unseen"] == 0
    assert "acc_family_unseen" not in got
    images = NAMES.train_images.copy()
    images[3] = 0  # was medium: from now on in no band but its own
    unseen = score(replace(rows, names=replace(NAMES, train_images=images)), resamples=0)
    for name, members in (("medium", [2]), ("rare", [4]), ("unseen", [3])):
        inside = np.isin(rows.family, members)
        assert unseen[f"rows_family_{name}"] == inside.sum() > 0
        assert unseen[f"acc_family_{name}"] == pytest.approx((rows.family == rows.family_pred)[inside].mean())
    trained = [0, 1, 2, 4, 5]
    assert unseen["balanced_acc_family_trained"] == pytest.approx(recall_of(rows, trained)) != unseen["balanced_acc_family"]
    finer = replace(rows, names=replace(NAMES, common=50, rare=50))
    assert "acc_family_medium" not in score(finer, resamples=0)  # no family lies between
    with pytest.raises(ValueError, match="rare=200 must be at least 1 and at most common=100"):
        replace(NAMES, rare=200)


def test_consistency_is_between_the_two_answers_whatever_the_truth():
    rows = split(4, missing=0)
    rows = replace(rows, family_pred=np.array([0, 2, 4, 5]), order_pred=np.array([0, 1, 0, 2]))
    assert score(rows, resamples=0)["consistency"] == 0.75
    unsure = replace(NAMES, family_order=np.array([0, 0, 1, 1, -1, 2]))  # family e has no known order
    assert score(replace(rows, names=unsure), resamples=0)["consistency"] == 1.0


def test_labels_of_one_class_have_no_auroc_and_without_a_yes_no_f1():
    rows = split()
    habitat = rows.habitat.copy()
    habitat[30:, 0], habitat[30:, 1] = 1, 0
    got = score(replace(rows, habitat=habitat), resamples=0)
    assert "auroc_habitat_tropical" not in got
    assert "auroc_habitat_polar" not in got
    assert "f1_habitat_polar" not in got
    assert got["auroc_habitat"] == got["auroc_habitat_freshwater"]
    assert got["f1_habitat"] == pytest.approx((got["f1_habitat_tropical"] + got["f1_habitat_freshwater"]) / 2)


def test_unknown_taxa_are_left_out():
    rows = split()
    family = rows.family.copy()
    family[100:] = -1
    got = score(replace(rows, family=family), resamples=0)
    assert got["acc_family"] == pytest.approx((rows.family == rows.family_pred)[:100].mean())


def test_nothing_known_leaves_scores_out_and_the_composite_defined():
    rows = split(20, missing=20)
    got = score(rows)
    assert not any("habitat" in name or "troph" in name for name in got if not name.startswith(("rows", "gate")))
    assert got["composite"] == pytest.approx(got["acc_family"] + 0.5 * got["acc_order"])
    assert all(math.isfinite(value) for value in got.values())
    assert math.isnan(combine_scores({}))


def test_gates_by_hand():
    gates = np.array([[[1, 0], [0.5, 0.5]], [[0, 1], [0.25, 0.75]]], np.float32)
    got = score(replace(split(2, missing=0), gates=gates), resamples=0)
    assert (got["gate_family_0"], got["gate_family_1"], got["gate_order_0"]) == (0.5, 0.5, 0.375)
    assert got["gate_entropy_family"] == 0.0  # each row is sure of its expert, though the mean is even
    even, uneven = math.log(2), -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert got["gate_entropy_order"] == pytest.approx((even + uneven) / 2)
    assert not any(name.startswith("gate") for name in score(replace(split(), gates=None), resamples=0))


def test_intervals_agree_with_a_plain_loop_over_groups():
    rows = split(groups=12)
    drawn = np.random.default_rng(3).integers(12, size=(60, 12))
    names, group = np.unique(rows.group, return_inverse=True)
    assert len(names) == 12
    scores = {name: [] for name in ("acc_family", "f1_habitat", "mae_troph", "composite")}
    for picks in drawn:
        index = np.concatenate([np.flatnonzero(group == g) for g in picks])
        copy = replace(rows, **{name: getattr(rows, name)[index] for name in rows.arrays()})
        one = score(copy, resamples=0)
        for name, values in scores.items():
            values.append(one[name])
    got = score(rows, resamples=60, seed=3)
    for name, values in scores.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert (got[f"{name}_low"], got[f"{name}_high"]) == pytest.approx((low, high))
        assert got[f"{name}_low"] < got[name] < got[f"{name}_high"]
