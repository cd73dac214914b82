"""Batches from several processes, with padding, become one split."""

import numpy as np
import pytest
import torch

from tarpon.train.tasks.cells.figures.split import draw_split
from tarpon.train.tasks.cells.metrics.collect import PageMetric, target_medians
from tarpon.train.tasks.cells.metrics.predictions import PageNames, load_rows

ROWS = 23
STACK = np.array([f"{'cb'[i % 2]}_p{i % 6 // 2}" for i in range(ROWS)])
NAMES = PageNames(
    key=np.array([f"key{i:02}" for i in range(ROWS)]),
    stack=STACK,
    well=np.array([name[0] for name in STACK]),
    position=np.array([name[-1] for name in STACK]),
    path=np.array([f"{name}.tiff" for name in STACK]),
    page=np.arange(ROWS) // 6,
)


@pytest.fixture
def table() -> tuple[dict, dict]:
    """Outputs and labels of all rows and one more for padding, with values that would spoil any score."""
    made = torch.Generator().manual_seed(0)
    out = {"label": torch.randn(ROWS + 1, 2, generator=made), "hours": 60 * torch.rand(ROWS + 1, generator=made) - 6}
    out["hours"][-1] = torch.inf
    batch = {
        "label": torch.arange(ROWS + 1) % 2,
        "hours": torch.arange(ROWS + 1) // 6 / 2,
        "target": 47 * torch.rand(ROWS + 1, generator=made),
    }
    batch["label"][-1], batch["hours"][-1], batch["target"][-1] = -1, torch.nan, torch.nan
    return out, batch


def read(table, ranks: list[list[list[int]]]):
    """The result on rank 0 of batches of rows of every process."""
    out, labels = table
    made = {"medians": (20.0, 22.0, 18.0), "resamples": 50}
    metrics, parts = [], []
    for place, batches in enumerate(ranks):
        metric = PageMetric(NAMES, place=place, places=len(ranks), **made)
        for rows in batches:
            at = torch.tensor(rows)
            metric.add({n: v[at] for n, v in out.items()}, {n: v[at] for n, v in labels.items()} | {"row": at})
        metrics.append(metric)
        parts.append(metric.part())
    return metrics[0].read(parts)


def test_scores_do_not_depend_on_batches_processes_and_padding(table):
    one = read(table, [[list(range(ROWS))]])
    order = np.random.default_rng(0).permutation(ROWS).tolist()
    two = read(table, [[order[:5], order[10:15], [*order[20:], -1, -1]], [order[5:10], order[15:20], [-1] * 5]])
    assert one.scalars == two.scalars
    assert one.scalars["rows"] == ROWS
    assert one.scalars["stacks"] == 6


def test_the_file_holds_the_answers_and_hours_are_clamped(table, tmp_path):
    result = read(table, [[[7, 3, 22, 0], [-1, 5]]])
    result.save(tmp_path / "predictions" / "val.npz")
    rows = load_rows(tmp_path / "predictions" / "val.npz")
    out, labels = table
    at = [0, 3, 5, 7, 22]
    assert rows.key.tolist() == NAMES.key[at].tolist()
    assert rows.stack.tolist() == STACK[at].tolist()
    np.testing.assert_allclose(rows.prob, out["label"][at].softmax(1)[:, 1], rtol=1e-6)
    np.testing.assert_array_equal(rows.predicted, out["hours"][at].clamp(0, 48))
    np.testing.assert_array_equal(rows.target, labels["target"][at])
    np.testing.assert_array_equal(rows.constant_class, np.where(labels["label"][at] == 1, 18.0, 22.0))
    whole = read(table, [[list(range(ROWS))]])
    assert out["hours"][:ROWS].max() > 48  # or the clamp would not be tested
    assert whole.scalars["mae"] == pytest.approx(
        (out["hours"][:ROWS].clamp(0, 48) - labels["target"][:ROWS]).abs().mean().item(), rel=1e-5
    )


def test_pictures_are_rgb(table):
    result = read(table, [[list(range(ROWS))]])
    shown = draw_split(result.rows)
    assert set(shown) == {"hours", "windows", "calibration", "stacks"}
    assert all(pixels.dtype == np.uint8 and pixels.shape[-1] == 3 for pixels in shown.values())
    truth, given = result.pr_curves()["infected"]
    assert truth.dtype == bool
    assert truth.shape == given.shape == (ROWS,)


def test_medians_of_targets():
    assert target_medians(np.array([1.0, 3, 5, 9]), np.array([0, 0, 1, 1])) == (4.0, 2.0, 7.0)
    assert target_medians(np.array([1.0, 3.0]), np.array([0, 0])) == (2.0, 2.0, 2.0)
