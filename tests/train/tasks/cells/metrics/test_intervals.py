"""Intervals: what they are drawn over, and where they cannot be known."""

from dataclasses import replace

import numpy as np

from tarpon.train.tasks.cells.metrics.intervals import choose_unit, describe_unit
from tarpon.train.tasks.cells.metrics.scores import score


def test_intervals_hold_the_score_and_grow_when_stacks_differ(made, drawn):
    got = score(drawn(stacks=12))
    for name in ("auc", "f1", "mae"):
        assert got[f"{name}_low"] <= got[name] <= got[f"{name}_high"]
    rows = drawn(stacks=12)
    lone = made(rows.label, rows.prob, rows.clock, rows.predicted, target=rows.target, stack=np.arange(len(rows)).astype(str))
    by_page = score(lone)  # correlated pages taken for independent ones promise too much
    assert by_page["auc_high"] - by_page["auc_low"] < got["auc_high"] - got["auc_low"]


def test_a_class_of_one_stack_has_no_interval_of_its_scores(drawn):
    """Two infected stacks and one uninfected: what another one would change is not in the draws."""
    rows = drawn(stacks=4)
    got = score(rows.take(rows.stack != "c_p0"))
    assert "auc" in got
    assert not {"auc_low", "auc_high", "f1_low", "f1_high"} & got.keys()
    assert got["mae_low"] < got["mae"] < got["mae_high"]
    assert {"auc_low", "f1_low"} <= score(rows).keys()


def test_wells_are_drawn_where_each_class_has_two(drawn):
    rows = drawn(stacks=8)
    pairs = np.array([f"{name[0]}{int(name[3:]) // 2}" for name in rows.stack])
    two = replace(rows, well=pairs)
    assert (choose_unit(two), describe_unit(two)) == ("wells", "4 wells")
    one = replace(rows, well=np.where(rows.label == 1, "b1", two.well))
    assert choose_unit(one) == "stacks"
    assert describe_unit(one) == "8 stacks of 3 wells (it tells nothing of other wells)"
    assert score(one)["mae_low"] == score(rows)["mae_low"] != score(two)["mae_low"]


def test_stacks_of_a_well_that_are_all_alike_say_no_more_than_one(made):
    """The same stack three times over: over stacks the interval would shrink, over wells it stays."""
    rng, pages = np.random.default_rng(0), 10
    label = np.repeat([0, 1] * 4, pages)
    prob = np.clip(0.3 * label + 0.7 * rng.random(len(label)), 0, 1)
    well = np.repeat([f"w{k}" for k in range(8)], pages)
    clock = np.tile(np.arange(pages) / 2, 8)
    once = made(label, prob, clock, clock, stack=well)
    names = np.concatenate([np.char.add(well, f"_{k}") for k in range(3)])
    thrice = made(*(np.tile(values, 3) for values in (label, prob, clock, clock)), stack=names, well=np.tile(well, 3))
    one, three = score(once), score(thrice)
    assert (one["stacks"], three["stacks"], one["wells"], three["wells"]) == (8, 24, 8, 8)
    for name in ("auc", "auc_low", "auc_high"):
        assert np.isclose(one[name], three[name])
