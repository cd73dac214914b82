"""Texts and places of what is drawn."""

from dataclasses import replace

import numpy as np
import pytest

from tarpon.train.figures import style
from tarpon.train.tasks.fish.figures import attributes
from tarpon.train.tasks.fish.metrics.counts import CountedRows, count_rows
from tarpon.train.tasks.fish.metrics.predictions import AttributeNames, AttributeRows

NAMES = AttributeNames(
    families=("a", "b", "c", "d"),
    orders=("p",),
    habitats=("Tropical", "Polar"),
    tasks=("family", "order"),
    family_order=np.zeros(4, int),
    train_images=np.array([1000, 50, 2, 0]),
)


@pytest.fixture
def rows() -> CountedRows:
    """Eight rows: all four of a right, one of two of b, none of c; the first has no attributes; polar never holds."""
    rows = AttributeRows(
        names=NAMES,
        key=np.array(list("stuvwxyz")),
        group=np.array(list("stuvwxyz")),
        family=np.array([0, 0, 0, 0, 1, 1, 2, 2]),
        family_pred=np.array([0, 0, 0, 0, 1, 0, 0, 1]),
        family_rank=np.array([0, 0, 0, 0, 0, 1, 2, 2]),
        family_confidence=np.full(8, 0.5, np.float32),
        order=np.zeros(8, int),
        order_pred=np.zeros(8, int),
        habitat=np.array([[-1, -1], [1, 0], [0, 0], [1, 0], [0, 0], [1, 0], [0, 0], [1, 0]]),
        habitat_prob=np.array([[0, 0], [0.9, 0], [0.1, 0], [0.8, 0], [0.2, 0], [0.7, 0], [0.3, 0], [0.6, 0]], np.float32),
        troph=np.array([np.nan, 2, 3, 4, 2, 3, 4, 3], np.float32),
        troph_pred=np.array([9, 2.5, 3, 4, 2, 3, 4, 9], np.float32),
        gates=np.tile(np.array([[[1, 0], [0.5, 0.5]]], np.float32), (8, 1, 1)),
    )
    return count_rows(rows)


def legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_gates_tell_weight_and_entropy(rows):
    axes = attributes.gates(rows).axes[0]
    assert [text.get_text() for text in axes.texts] == ["1.00", "0.00", "0.50", "0.50"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["family\n0.00 nats", "order\n0.69 nats"]


def test_families_stand_at_their_images_and_recall(rows):
    axes = attributes.families(rows).axes[0]
    assert axes.get_xscale() == "log"
    assert legend(axes) == [
        "common: 1 family, 1.000 of 4 rows",
        "medium: 1 family, 0.500 of 2 rows",
        "rare: 1 family, 0.000 of 2 rows",
    ]
    places = np.concatenate([points.get_offsets() for points in axes.collections])
    np.testing.assert_allclose(places[:, 0], [1000, 50, 2], rtol=0.1)
    np.testing.assert_allclose(places[:, 1], [1, 0.5, 0], atol=0.02)


def test_habitats_name_the_area_and_labels_of_one_class(rows):
    axes = attributes.habitats(rows).axes[0]
    assert legend(axes) == ["Tropical: 1.000 (57% yes)", "Polar: one class only"]
    assert axes.get_title(loc="left") == "Habitats, 7 rows"


def test_troph_counts_every_known_row_also_outside_of_the_range(rows):
    axes = attributes.troph(rows).axes[0]
    cells = axes.collections[0].get_array()
    assert cells.sum() == 7  # the answer of 9 is at the border
    assert axes.get_title(loc="left") == "Trophic level: mean error 0.929, 7 rows"


def test_a_split_without_attributes_can_be_drawn(rows):
    blank = replace(rows, habitat=np.full((8, 2), -1), troph=np.full(8, np.nan, np.float32))
    for draw in (attributes.habitats, attributes.troph):
        assert style.pixels(draw(blank)).shape[2] == 3
    assert "no known row" in attributes.troph(blank).axes[0].get_title(loc="left")
