"""New stacks through trained models: the answers of evaluation, for stacks of any name and length, and the mean of several."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import torch
from PIL import Image

from tarpon.shards.sources.cells.source import CLASSES
from tarpon.tools import cli
from tarpon.tools.cells.page_model import load_model
from tarpon.train.tasks.cells import export
from tarpon.train.tasks.cells.metrics.predictions import load_rows


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cells_shards, make_cells_run) -> tuple[Path, Path]:
    """Two runs that differ in weights, page size, window and contrast."""
    out = tmp_path_factory.mktemp("predicting")
    wide = ("--model.backbone.image_size=40", "--model.window=3", "--model.tcn_hidden=8", "--contrast=first", "--seed=2")
    return (
        make_cells_run(out / "plain", cells_shards, "--model.backbone.image_size=32", "--contrast=stack", "--seed=1"),
        make_cells_run(out / "wide", cells_shards, *wide),
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory, cells_lab, cells_shards) -> Path:
    """An infected and an uninfected stack of the test split."""
    folder, source = tmp_path_factory.mktemp("images"), cells_shards.column("source")[cells_shards.column("split") == "test"]
    for label in CLASSES:
        name = next(name for name in sorted(source) if name.startswith(f"{label}/"))
        shutil.copy(cells_lab / name, folder)
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def predict(*words: object) -> int:
    return cli.main(["predict", "cells", *map(str, words)])


def test_a_stack_is_answered_as_evaluation_answers_its_packed_pages(runs, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in runs:
        assert predict("--checkpoint", run, "--images", images, "--out", f"{run.name}.csv") == 0
        told = {(line["stack"], int(line["page"])): line for line in read(Path(f"{run.name}.csv"))}
        rows = load_rows(run / "predictions" / "test.npz")
        answered = [at for at in range(len(rows)) if (rows.stack[at], rows.page[at]) in told]
        assert len(answered) == len(told) == 2 * 8
        for at in answered:
            line = told[rows.stack[at], rows.page[at]]
            assert float(line["probability_infected"]) == pytest.approx(rows.prob[at], abs=1e-5)
            assert float(line["predicted_hours"]) == pytest.approx(rows.predicted[at], abs=1e-4)
            assert float(line["hours_since_start"]) == rows.clock[at]
            assert line["predicted_class"] == CLASSES[int(rows.prob[at] >= 0.5)]
            assert line["well"] == rows.well[at]


def test_of_several_runs_the_mean_is_told(runs, images, tmp_path):
    both = ["--checkpoint", runs[0] / export.NAME, runs[1]]
    assert predict(*both, "--images", images, "--out", tmp_path / "both.parquet") == 0
    for run in runs:
        assert predict(f"--checkpoint={run}", "--images", images, "--out", tmp_path / f"{run.name}.parquet") == 0
    both, one, other = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("both", "plain", "wide"))
    for name in ("probability_infected", "predicted_hours"):
        values = np.stack([table[name].to_numpy() for table in (one, other)])
        np.testing.assert_allclose(both[name].to_numpy(), values.mean(0), atol=1e-6)
        np.testing.assert_allclose(both[f"{name}_sd"].to_numpy(), values.std(0, ddof=1), atol=1e-5)
    assert "probability_infected_sd" not in one.column_names


def test_any_name_and_length_goes_and_what_is_no_stack_is_left_out_by_name(runs, cells_lab, tmp_path, capsys):
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    stack = tifffile.imread(sorted((cells_lab / "infected").iterdir())[0])
    tifffile.imwrite(images / "=odd name.tif", stack[:1])
    tifffile.imwrite(images / "deep" / "long.tiff", np.concatenate([stack] * 3))
    tifffile.imwrite(images / "long.tif", stack)
    (images / "broken.tif").write_bytes(b"nothing")
    (images / "notes.txt").write_text("passed over")
    assert predict("--checkpoint", runs[1], "--images", images, "--out", tmp_path / "out" / "T.csv") == 1
    said = capsys.readouterr().out
    assert "left out: broken.tif: " in said
    assert "3 of 4 stacks, 33 pages" in said
    lines = read(tmp_path / "out" / "T.csv")
    assert [line["file"] for line in lines[:1]] == ["'=odd name.tif"]
    names = ["_odd_name", "deep_long", "long"]
    assert sorted({line["stack"] for line in lines}) == names
    assert [int(line["pages"]) for line in read(tmp_path / "out" / "T_stacks.csv")] == [1, 24, 8]
    folder = tmp_path / "out" / "T_stacks"
    wanted = sorted(f"{name}{end}" for name in names for end in (".csv", ".png"))
    assert sorted(path.name for path in folder.iterdir()) == wanted
    assert Image.open(folder / "long.png").width > 600
    assert len(read(folder / "deep_long.csv")) == 24


def test_files_of_one_time_point_are_one_stack_and_a_file_of_two_positions_is_two(runs, cells_lab, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    stack = tifffile.imread(sorted((cells_lab / "infected").iterdir())[0])
    for number in range(3):
        tifffile.imwrite(images / f"x_b2_p1_t{number}.tif", stack[number])
    with tifffile.TiffWriter(images / "both.ome.tif", ome=True) as writer:
        for part in (stack[:2], stack[2:4]):
            writer.write(part, metadata={"axes": "TYX"})
    assert predict("--checkpoint", runs[0], "--images", images, "--out", tmp_path / "T.csv") == 0
    told = [(line["stack"], int(line["pages"])) for line in read(tmp_path / "T_stacks.csv")]
    assert told == [("both_1", 2), ("both_2", 2), ("b2_p1", 3)]
    assert "3 of 3 stacks, 7 pages" in capsys.readouterr().out


def test_what_validation_says_of_the_onset_is_told(runs, images, tmp_path, capsys):
    """The checkpoint alone knows no validation; beside its run folder the wells of validation are counted."""
    shutil.copy(runs[0] / export.NAME, tmp_path / "alone.pt")
    words = ["--images", images, "--out", tmp_path / "T.csv"]
    assert predict("--checkpoint", tmp_path / "alone.pt", *words) == 0
    assert "no predictions/val.npz beside its checkpoint; give the run's folder" in capsys.readouterr().out
    assert predict("--checkpoint", runs[0], *words) == 0
    assert "of validation's stacks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--out", "T.xlsx"], "must end in .csv or .parquet"),
        (["--out", "T.csv", "--hold", "0"], "at least 1"),
        (["--out", "T.csv", "--level", "1"], "between 0 and 1"),
        (["--out", "T.csv", "--images", "nowhere"], "nowhere: no such folder"),
        (["--out", "T.csv", "--checkpoint", "nowhere.pt"], "no such checkpoint"),
    ],
)
def test_mistakes_are_one_line(runs, cells_lab, tmp_path, capsys, monkeypatch, words, part):
    monkeypatch.chdir(tmp_path)
    given = {"--checkpoint": str(runs[0]), "--images": str(cells_lab)} | dict(zip(words[::2], words[1::2], strict=True))
    assert predict(*(word for pair in given.items() for word in pair)) == 2
    said = capsys.readouterr().err
    assert part in said
    assert len(said.splitlines()) == 1


def test_checkpoints_of_earlier_versions_take_the_making_of_pages_from_their_shards(runs, cells_shards, tmp_path):
    held = torch.load(runs[0] / export.NAME, weights_only=True)
    for data, told in ((cells_shards.root, True), (str(tmp_path / "gone"), False)):
        held["args"]["run"]["data"] = data
        torch.save({name: value for name, value in held.items() if name != "packing"}, tmp_path / "old.pt")
        if told:
            assert load_model(tmp_path / "old.pt").packing == cells_shards.card["settings"]
        else:
            with pytest.raises(ValueError, match="an earlier Tarpon wrote it"):
                load_model(tmp_path / "old.pt")


def test_stacks_filmed_at_another_rate_have_their_own_hours(runs, cells_lab, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    stack = tifffile.imread(sorted((cells_lab / "infected").iterdir())[0])
    tifffile.imwrite(images / "a.tif", stack, imagej=True, metadata={"axes": "TYX", "finterval": 600.0})
    assert predict("--checkpoint", runs[0], "--images", images, "--out", tmp_path / "T.csv") == 1  # told every 10 min, not 30
    assert predict("--checkpoint", runs[0], "--images", images, "--out", tmp_path / "T.csv", "--frames-per-hour", "6") == 0
    assert [float(line["hours_since_start"]) for line in read(tmp_path / "T.csv")] == pytest.approx(np.arange(8) / 6)
