"""Processes that keep pages of their own: scores, figures and files are those of one, whatever their number."""

import json
import pickle
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.cells.metrics.collect import PageMetric
from tarpon.train.tasks.cells.metrics.predictions import PageNames, PageRows, load_rows
from tarpon.train.tasks.cells.outputs import read_run

MEDIANS = (20.0, 22.0, 18.0)
FIRST = 500  # row of the manifest that the split begins with


@pytest.fixture
def rows(drawn) -> PageRows:
    """Stacks of two wells a class, infected at hours of their own, and one whose hour is not known."""
    rows = drawn(stacks=10, pages=60)
    number = np.array([int(name[-1]) for name in rows.stack])
    well = np.char.add(np.array(list("cb"))[rows.label], (number % 2).astype(str))
    onset = np.where(number == 4, np.nan, 1 + number % 2).astype(np.float32)
    return PageRows(**{"clamp_range": rows.clamp_range} | {name: getattr(rows, name) for name in rows.arrays()} | {
        "well": well, "onset": onset})  # fmt: skip


def answer(rows: PageRows, cuts: list[int], *, resamples: int = 60, order: np.ndarray | None = None) -> list[PageMetric]:
    """Metrics of processes, each with pages from one cut to the next; order: of the pages before they are cut."""
    table = {
        name: np.concatenate([np.full(FIRST, "?"), getattr(rows, name)])
        for name in ("key", "stack", "well", "position", "path")
    }
    names = PageNames(**table, page=np.concatenate([np.zeros(FIRST, int), rows.page]))
    onset, metrics = np.concatenate([np.zeros(FIRST), rows.onset]), []
    order = np.arange(len(rows)) if order is None else order
    for place, (begin, end) in enumerate(pairwise(cuts)):
        how = {"medians": MEDIANS, "onset": onset, "resamples": resamples, "place": place, "places": len(cuts) - 1}
        metrics.append(PageMetric(names, **how))
        for page in order[begin:end]:  # one by one, for how a softmax rounds may hang on where a page lies in its batch
            at = np.array([page])
            out = {"label": torch.from_numpy(np.stack([np.zeros(len(at)), np.log(rows.prob[at] / (1 - rows.prob[at]))], 1))}
            out["hours"] = torch.from_numpy(rows.predicted[at])
            labels = {"label": rows.label[at], "hours": rows.clock[at], "target": rows.target[at], "row": FIRST + at}
            metrics[-1].add(out, {name: torch.from_numpy(column) for name, column in labels.items()})
    return metrics


def read(metrics: list[PageMetric]) -> SimpleNamespace:
    """The result on rank 0, and the bytes that the others sent."""
    first, *others = [metric.part() for metric in metrics]
    sent = [pickle.dumps(part) for part in others]
    return SimpleNamespace(result=metrics[0].read([first, *map(pickle.loads, sent)]), sent=sum(map(len, sent)))


@pytest.mark.parametrize(
    "cuts", [[0, 320, 600], [0, 0, 600], [0, 130, 130, 600], [0, 0, 1, 600]], ids=["two", "first empty", "one empty", "a page"]
)
def test_scores_pages_and_files_are_those_of_one_process(rows, cuts, tmp_path):
    alone, metrics = answer(rows, [0, 600]), answer(rows, cuts)
    one, many = read(alone).result, read(metrics).result
    assert {"auc_low", "auc_before_onset", "auc_95_from_h", "mae_high", "first_onset_h"} <= one.scalars.keys()
    assert many.scalars == one.scalars  # to the last bit, intervals too
    for name in many.rows.arrays():  # all that figures are drawn from
        np.testing.assert_array_equal(getattr(many.rows, name), getattr(one.rows, name))
    for kind, written in (("one", alone), ("many", metrics)):
        for metric in written:
            metric.save(tmp_path / kind / "predictions" / "val.npz")
    assert [path.name for path in (tmp_path / "one" / "predictions").iterdir()] == ["val.npz"]
    assert len(list_shares(tmp_path / "many" / "predictions" / "val.npz")) == len(cuts) - 1
    held, found = (load_rows(tmp_path / kind / "predictions" / "val.npz") for kind in ("one", "many"))
    assert held.key.tolist() == rows.key.tolist()
    for name in held.arrays():
        np.testing.assert_array_equal(getattr(held, name), getattr(found, name))
    assert found.arrays() == held.arrays()


def test_a_run_folder_with_a_set_reads_as_with_one_file(rows, tmp_path):
    for kind, cuts in (("one", [0, 600]), ("many", [0, 250, 250, 600])):
        metrics = answer(rows, cuts, resamples=0)
        read(metrics)
        for metric in metrics:
            metric.save(tmp_path / kind / "predictions" / "test.npz")
        (tmp_path / kind / "metrics.json").write_text(json.dumps({"best_step": 3}))
    one, many = (read_run(tmp_path / kind) for kind in ("one", "many"))
    assert many.shown == "test"
    assert many.scores == one.scores


def test_pages_may_be_dealt_out_in_any_order(rows):
    one = read(answer(rows, [0, 600])).result
    order = np.random.default_rng(0).permutation(600)
    assert read(answer(rows, [0, 200, 400, 600], order=order)).result.scalars == one.scalars


def test_a_page_of_two_processes_and_no_page_are_refused(rows):
    metrics = answer(rows, [0, 300, 600])
    metrics[1] = answer(rows, [0, 299, 600])[1]
    with pytest.raises(ValueError, match="1 pages of the split were answered more than once"):
        read(metrics)
    with pytest.raises(ValueError, match="no pages"):
        read(answer(rows, [0, 0, 0]))


def test_others_send_two_numbers_and_a_few_bytes_a_page_and_names_once_a_stack(drawn):
    rows = drawn(stacks=60, pages=90)
    sent = read(answer(rows, [0, 0, len(rows)], resamples=0)).sent
    assert sent < 11 * len(rows) + 120 * 60 + 2000  # it was 32 a page
