"""Scoring finished runs again: one, and the mean of several; and where on a page one looks."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tarpon.models.pages.reader import PageReader
from tarpon.tools import cli, evaluate
from tarpon.tools.cells import gradcam
from tarpon.train import checkpoint
from tarpon.train.config import parse, parser_for
from tarpon.train.engine import DistContext
from tarpon.train.evaluate import evaluate as score
from tarpon.train.tasks import TASKS
from tarpon.train.tasks.cells.metrics.predictions import PageRows, load_rows, save_rows

TINY = ("--model.backbone.name=resnet10t", "--model.backbone.pretrained=false", "--micro_batch=5", "--global_batch=5")
PLACE = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=torch.device("cpu"))


def finished(out: Path, data: str, *words: str) -> Path:
    """A run folder as training leaves it, with weights as they are before the first step."""
    task = TASKS["cells"]
    parser = parser_for(task.options, recipe=task.recipe(), task="cells")
    run, options, text = parse(parser, task.options, [f"--data={data}", f"--out={out}", *TINY, *words])
    problem = task.build(run, options, PLACE)
    out.mkdir()
    checkpoint.save_tensors(out / checkpoint.BEST, checkpoint.model_tensors(problem.model), {"step": 0})
    (out / "run.yaml").write_text(text)
    (out / "run.json").write_text('{"task": "cells"}')
    (out / "encoders.json").write_text(json.dumps(problem.encoders))
    score(problem, "test").save(out / "predictions" / "test.npz")
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cells_shards) -> tuple[Path, Path, Path]:
    """Two runs that differ in weights, page size and batch, and one tested on another fold."""
    out = tmp_path_factory.mktemp("evaluated")
    return (
        finished(out / "a", cells_shards.root, "--model.backbone.image_size=32", "--seed=1"),
        finished(
            out / "b", cells_shards.root, "--model.backbone.image_size=64", "--seed=2", "--micro_batch=7", "--global_batch=7"
        ),
        finished(out / "c", cells_shards.root, "--model.backbone.image_size=32", "--fold=1"),
    )


def test_the_mean_of_runs_is_that_of_their_probabilities_and_hours(runs, tmp_path, capsys):
    one, other, _ = runs
    words = ["evaluate", "--checkpoint", str(one / "best.safetensors"), str(other), "--json", str(tmp_path / "m.json")]
    assert cli.main([*words, "--predictions", str(tmp_path / "m.npz")]) == 0
    first, second = (load_rows(folder / "predictions" / "test.npz") for folder in (one, other))
    mean = load_rows(tmp_path / "m.npz")
    assert mean.key.tolist() == first.key.tolist() == second.key.tolist()
    assert np.abs(first.prob - second.prob).max() > 1e-3
    np.testing.assert_allclose(mean.prob, (first.prob + second.prob) / 2, atol=1e-5)
    np.testing.assert_allclose(mean.predicted, (first.predicted + second.predicted) / 2, atol=1e-4)  # nothing was clamped
    held = json.loads((tmp_path / "m.json").read_text())
    assert list(held["runs"]) == [str(one), str(other)]
    assert {"auc", "mae", "loss"} <= held["test"].keys()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][-3:] == ["a", "b", "mean"]
    mae = next(line for line in lines if line[0] == "mae")
    assert mae[1:] == [f"{scores['mae']:.4f}" for scores in (*held["runs"].values(), held["test"])]


def test_runs_that_look_at_one_page_and_at_three_are_averaged(runs, tmp_path, cells_shards):
    words = ("--model.backbone.image_size=32", "--model.window=3", "--model.tcn_hidden=8")
    wide = finished(tmp_path / "wide", cells_shards.root, *words)
    assert cli.main(["evaluate", str(runs[0]), str(wide), "--predictions", str(tmp_path / "m.npz")]) == 0
    first, second, mean = (load_rows(path) for path in (
        runs[0] / "predictions" / "test.npz", wide / "predictions" / "test.npz", tmp_path / "m.npz"
    ))  # fmt: skip
    np.testing.assert_allclose(mean.prob, (first.prob + second.prob) / 2, atol=1e-5)


def test_a_split_that_is_not_there_is_told(runs, capsys):
    assert cli.main(["evaluate", str(runs[0]), "--split", "tset"]) == 2
    assert "has no split tset; give --split train or val or test" in capsys.readouterr().err


def test_one_run_is_scored_as_training_did(runs, tmp_path):
    assert cli.main(["evaluate", str(runs[0]), "--predictions", str(tmp_path / "m.npz")]) == 0
    again, before = load_rows(tmp_path / "m.npz"), load_rows(runs[0] / "predictions" / "test.npz")
    np.testing.assert_allclose(again.prob, before.prob, atol=1e-6)


def test_what_cannot_be_averaged_is_one_line(runs, capsys):
    for words, part in (([0, 0], "given twice"), ([0, 2], "do not have the same rows")):
        assert cli.main(["evaluate", *(str(runs[i]) for i in words)]) == 2
        assert part in capsys.readouterr().err


def test_data_that_are_gone_are_told_with_the_option_that_finds_them(runs, tmp_path, capsys, cells_shards):
    gone = shutil.copytree(runs[0], tmp_path / "run")
    text = (gone / "run.yaml").read_text()
    (gone / "run.yaml").write_text(text.replace(str(cells_shards.root), str(tmp_path / "moved")))
    for words in (["evaluate", str(gone)], ["gradcam", str(gone)]):
        assert cli.main(words) == 2
        assert f"its data {tmp_path / 'moved'} are not there; give --data" in capsys.readouterr().err
        assert cli.main([*words, f"--data={cells_shards.root}"]) == 0


def test_a_file_of_a_run_stands_for_it(runs, tmp_path):
    assert evaluate.run_folder(runs[0] / "best.safetensors") == runs[0]
    assert evaluate.run_folder(runs[0] / "predictions" / "test.npz") == runs[0]
    assert evaluate.run_folder(runs[0]) == runs[0]
    assert evaluate.run_folder(tmp_path / "nowhere") == tmp_path / "nowhere"


def test_the_picture_has_the_best_and_the_worst(runs, capsys):
    assert cli.main(["gradcam", str(runs[0]), "--stacks", "2"]) == 0
    assert "2 best and 2 worst pages" in capsys.readouterr().out
    with Image.open(runs[0] / "gradcam.png") as picture:
        assert picture.height > 0.9 * picture.width  # four rows of four panels


def test_the_pages_shown_are_those_asked_for(runs):
    problem = evaluate.open_best(runs[0]).problem
    rows = load_rows(runs[0] / "predictions" / "test.npz")
    alone = dict(gradcam.iterate_pages(problem, "test", [len(rows) - 1, 0, 7]))
    assert list(alone) == [0, 7, len(rows) - 1]
    assert isinstance(problem.model.eval(), PageReader)
    for place, batch in alone.items():
        with torch.no_grad():
            prob = problem.model(batch["clip"], batch["valid"])["label"].softmax(1)[0, 1]
        assert float(prob) == pytest.approx(float(rows.prob[place]), abs=1e-5)


def test_shards_that_were_packed_anew_are_noticed(runs, tmp_path, capsys):
    path = runs[1] / "predictions" / "test.npz"
    rows = load_rows(path)
    later = replace(rows, clock=rows.clock + np.float32(1))
    assert isinstance(later, PageRows)
    save_rows(path, later)
    assert cli.main(["gradcam", str(runs[1])]) == 2
    assert "packed anew" in capsys.readouterr().err
    save_rows(path, rows)


def test_gradcam_says_what_it_needs(runs, capsys):
    for words, part in ((["--split", "val"], "val.npz: no such file"), (["--stacks", "0"], "at least 1")):
        assert cli.main(["gradcam", str(runs[0]), *words]) == 2
        assert part in capsys.readouterr().err


def test_grey_is_the_middle_page_as_it_was_before_normalising():
    clip = torch.zeros(1, 3, 3, 2, 2)
    clip[0, 1] = (torch.tensor([[0.0, 1.0], [0.2, 2.0]]) - 0.5) / 0.25
    assert gradcam.to_grey(clip, mean=0.5, std=0.25).tolist() == [[0, 255], [51, 255]]
