"""Processes that keep rows of their own: scores, figures and files are those of one, whatever their number."""

import pickle
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.fish.figures.split import draw_split
from tarpon.train.tasks.fish.metrics.collect import AttributeMetric
from tarpon.train.tasks.fish.metrics.predictions import AttributeNames, load_rows
from tarpon.train.tasks.fish.metrics.scores import score

ROWS, FIRST = 200, 300  # in the split, and the row of the table that it begins with
HABITATS = ("Tropical", "Temperate", "Polar", "freshwater", "saltwater")
NAMES = AttributeNames(
    families=tuple(f"f{i}" for i in range(30)),
    orders=tuple("pqrs"),
    habitats=HABITATS,
    feedings=("benthic", "pelagic"),
    tasks=("family", "order", "habitat", "troph", "feeding"),
    family_order=np.arange(30) % 5 - 1,
    train_images=np.arange(30) * 5,
)


@pytest.fixture(scope="module")
def table() -> tuple[dict, dict, np.ndarray]:
    """Outputs and labels of the rows of a split, and the group of every row of the table; every seventh has no attributes."""
    rng = np.random.default_rng(0)
    widths = {"family": 30, "order": 4, "habitat": len(HABITATS), "troph": 1, "feeding": 2}
    out = {name: rng.normal(size=(ROWS, width)) for name, width in widths.items()}
    out["gates"] = rng.dirichlet([1.0, 1, 1], (ROWS, 5))
    labels = {
        "family": rng.integers(-1, 30, ROWS),
        "order": rng.integers(-1, 4, ROWS),
        "habitat": rng.integers(0, 2, (ROWS, len(HABITATS))),
        "troph": rng.uniform(2, 5, ROWS),
        "feeding": rng.integers(0, 2, ROWS),
    }
    labels["habitat"][::7], labels["troph"][::7], labels["feeding"][::7] = -1, np.nan, -1
    groups = np.array([f"species {number}" for number in rng.integers(0, 90, FIRST + ROWS)])
    return out, labels, groups


def answer(table, cuts: list[int], *, order: np.ndarray | None = None) -> list[AttributeMetric]:
    """Metrics of processes, each with rows from one cut to the next; order: of the rows before they are cut."""
    (out, labels, groups), metrics = table, []
    keys = np.array([f"key{row}" for row in range(FIRST + ROWS)])
    order = np.arange(ROWS) if order is None else order
    for place, (begin, end) in enumerate(pairwise(cuts)):
        metric = AttributeMetric(NAMES, keys=keys, groups=groups, resamples=100, place=place, places=len(cuts) - 1)
        for row in order[begin:end]:  # one by one, for how a sigmoid rounds may hang on where a row lies in its batch
            at = np.array([row])
            batch = {name: torch.from_numpy(column[at]) for name, column in labels.items()}
            metric.add(
                {name: torch.from_numpy(o[at]) for name, o in out.items()}, batch | {"row": torch.from_numpy(FIRST + at)}
            )
        metrics.append(metric)
    return metrics


def read(metrics: list[AttributeMetric]) -> SimpleNamespace:
    """The result on rank 0, and the bytes that the others sent."""
    first, *others = [metric.part() for metric in metrics]
    sent = [pickle.dumps(part) for part in others]
    return SimpleNamespace(result=metrics[0].read([first, *map(pickle.loads, sent)]), sent=sum(map(len, sent)))


@pytest.mark.parametrize(
    "cuts", [[0, 90, 200], [0, 0, 200], [0, 50, 50, 200], [0, 1, 199, 200]], ids=["two", "first empty", "one empty", "a row"]
)
def test_scores_and_files_are_those_of_one_process(table, cuts, tmp_path):
    alone, metrics = answer(table, [0, ROWS]), answer(table, cuts)
    one, many = read(alone).result, read(metrics).result
    assert {"composite_low", "auroc_habitat_polar", "gate_entropy_troph", "acc_feeding", "rmse_troph"} <= one.scalars.keys()
    assert many.scalars == one.scalars  # to the last bit, intervals too
    for kind, written in (("one", alone), ("many", metrics)):
        for metric in written:
            metric.save(tmp_path / kind / "val.npz")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["val.npz"]
    assert len(list_shares(tmp_path / "many" / "val.npz")) == len(cuts) - 1
    held, found = (load_rows(tmp_path / kind / "val.npz") for kind in ("one", "many"))
    assert held.key.tolist() == [f"key{FIRST + row}" for row in range(ROWS)]
    assert found.arrays() == held.arrays()
    for name in held.arrays():
        np.testing.assert_array_equal(getattr(held, name), getattr(found, name))
    assert score(found, resamples=100) == one.scalars


def test_rows_may_be_dealt_out_in_any_order(table):
    one = read(answer(table, [0, ROWS])).result
    order = np.random.default_rng(0).permutation(ROWS)
    assert read(answer(table, [0, 60, 130, ROWS], order=order)).result.scalars == one.scalars


def test_figures_of_many_processes_are_those_of_one(table):
    one, many = (draw_split(read(answer(table, cuts)).result.rows) for cuts in ([0, ROWS], [0, 61, 122, ROWS]))
    assert one.keys() == many.keys() == {"gates", "families", "habitats", "troph"}
    for name, pixels in one.items():
        np.testing.assert_array_equal(pixels, many[name])


def test_a_row_of_two_processes_and_no_row_are_refused(table):
    metrics = answer(table, [0, 100, ROWS])
    metrics[1] = answer(table, [0, 98, ROWS])[1]
    with pytest.raises(ValueError, match="2 rows of the split were answered more than once"):
        read(metrics)
    with pytest.raises(ValueError, match="the split is empty"):
        read(answer(table, [0, 0, 0]))


def test_others_send_counts_and_what_is_ranked(table):
    """Of a row 5 probabilities, 2 levels, 3 bytes, on top of 2 kB of counts a process; its answers were 276."""
    assert read(answer(table, [0, 0, ROWS])).sent < 31 * ROWS + 3000
