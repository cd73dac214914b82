"""Batches from several processes, with padding, become one split."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tarpon.train.tasks.fish.figures.split import draw_split
from tarpon.train.tasks.fish.metrics.collect import AttributeMetric, rank_families
from tarpon.train.tasks.fish.metrics.predictions import AttributeNames, load_rows

ROWS = 23
NAMES = AttributeNames(
    families=tuple("abcdefg"),
    orders=("p", "q", "r"),
    habitats=("Tropical", "Polar", "freshwater"),
    feedings=("benthic", "pelagic"),
    tasks=("family", "order", "habitat", "troph", "feeding"),
    family_order=np.array([0, 0, 1, 1, 2, 2, 2]),
    train_images=np.array([300, 90, 80, 70, 20, 8, 3]),
)
KEYS, GROUPS = np.array([f"key{i:02}" for i in range(ROWS)]), np.array([f"g{i % 5}" for i in range(ROWS)])


@pytest.fixture
def table() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs and labels of all rows, and one more of missing labels for padding, as the feature loader gives them."""
    made = torch.Generator().manual_seed(0)
    out = {name: torch.randn(ROWS + 1, width, generator=made) for name, width in
           {"family": 7, "order": 3, "habitat": 3, "troph": 1, "feeding": 2}.items()}  # fmt: skip
    out["gates"] = torch.rand(ROWS + 1, 5, 4, generator=made).softmax(-1)
    labels = {
        "family": torch.randint(0, 7, (ROWS + 1,), generator=made),
        "order": torch.randint(0, 3, (ROWS + 1,), generator=made),
        "habitat": torch.randint(0, 2, (ROWS + 1, 3), generator=made).to(torch.int8),
        "troph": torch.rand(ROWS + 1, generator=made) + 3,
        "feeding": torch.randint(0, 2, (ROWS + 1,), generator=made),
    }
    for name, missing in {"habitat": -1, "troph": torch.nan, "feeding": -1}.items():
        labels[name][:4] = missing
        labels[name][-1] = missing
    labels["family"][-1] = labels["order"][-1] = -1
    return out, labels


def read(table, ranks: list[list[list[int]]], *, joint: bool = False, **changes):
    """The result on rank 0 of batches of rows of every process."""
    out, labels = table
    metrics, parts = [], []
    for place, batches in enumerate(ranks):
        metric = AttributeMetric(NAMES, keys=KEYS, groups=GROUPS, joint=joint, place=place, places=len(ranks))
        for rows in batches:
            at = torch.tensor(rows)
            metric.add({n: v[at] for n, v in (out | changes).items()}, {n: v[at] for n, v in labels.items()} | {"row": at})
        metrics.append(metric)
        parts.append(metric.part())
    return metrics[0].read(parts)


def test_scores_do_not_depend_on_batches_processes_and_padding(table):
    one = read(table, [[list(range(ROWS))]])
    shuffled = np.random.default_rng(0).permutation(ROWS).tolist()
    two = read(table, [[shuffled[:5], shuffled[10:15], [*shuffled[20:], -1, -1]], [shuffled[5:10], shuffled[15:20], [-1] * 5]])
    assert one.scalars == two.scalars
    assert one.scalars["rows"] == ROWS
    assert one.scalars["rows_habitat"] == ROWS - 4


def test_chosen_together_families_and_orders_agree(table):
    apart, together = (read(table, [[list(range(ROWS))]], joint=joint).scalars for joint in (False, True))
    assert together["consistency"] == 1.0 > apart["consistency"]


def test_the_file_holds_the_answers_in_order_of_row(table, tmp_path):
    result = read(table, [[[7, 3, 22, 0], [-1, 5]]])
    result.save(tmp_path / "predictions" / "val.npz")
    rows = load_rows(tmp_path / "predictions" / "val.npz")
    at = [0, 3, 5, 7, 22]
    out, labels = table
    assert rows.key.tolist() == KEYS[at].tolist()
    assert rows.group.tolist() == GROUPS[at].tolist()
    np.testing.assert_array_equal(rows.family_pred, out["family"][at].argmax(1))
    np.testing.assert_array_equal(rows.habitat, labels["habitat"][at])
    np.testing.assert_allclose(rows.habitat_prob, out["habitat"][at].sigmoid(), rtol=1e-6)
    np.testing.assert_array_equal(rows.troph, labels["troph"][at])
    np.testing.assert_array_equal(rows.gates, out["gates"][at])
    np.testing.assert_allclose(rows.family_confidence, out["family"][at].softmax(1).amax(1), rtol=1e-6)


def test_the_rank_counts_who_stands_before_the_truth():
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [0.0, 5.0, 9.0], [1.0, 2.0, 3.0]])
    got = rank_families(scores, torch.tensor([1, 1, 2, -1]))
    assert got["family_rank"].tolist() == [2, 1, 0, -1]
    assert got["family_pred"].tolist() == [0, 0, 2, 2]


def test_bf16_answers_and_nan_habitats_are_taken(table):
    out, labels = table
    floats = labels["habitat"].float()
    floats[labels["habitat"] < 0] = torch.nan
    half = {name: value.bfloat16() for name, value in out.items() if name != "gates"}
    result = read((out, labels | {"habitat": floats}), [[list(range(ROWS))]], **half)
    assert result.scalars["rows_habitat"] == ROWS - 4


def test_a_model_without_gates_or_feeding_has_no_such_scores(table):
    out = {name: value for name, value in table[0].items() if name not in ("gates", "feeding")}
    result = read((out, table[1]), [[list(range(ROWS))]])
    assert not any(name.startswith("gate") or "feeding" in name for name in result.scalars)
    assert set(draw_split(result.rows)) == {"families", "habitats", "troph"}


def test_pictures_are_images(table):
    pictures = draw_split(read(table, [[list(range(ROWS))]]).rows)
    assert set(pictures) == {"gates", "families", "habitats", "troph"}
    assert all(pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 for pixels in pictures.values())


def test_a_row_answered_twice_and_an_empty_split_are_refused(table):
    with pytest.raises(ValueError, match="2 rows of the split were answered more than once"):
        read(table, [[[0, 1, 2]], [[1, 2, 3]]])
    for nothing in ([[]], [[[-1, -1]]]):
        with pytest.raises(ValueError, match="the split is empty"):
            read(table, nothing)
