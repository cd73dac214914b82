"""The temporal analysis of sets of runs: alone, as a mean, as folds; from any folder, without data."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tarpon.tools import cli
from tarpon.tools.cells import temporal
from tarpon.train.tasks.cells.metrics.predictions import PageRows, save_rows
from tarpon.train.tasks.cells.metrics.windows import score_windows


def rows_of(seed: int, *, wells: tuple[str, ...] = ("b1", "b2", "c1", "c2"), pages: int = 30) -> PageRows:
    rng = np.random.default_rng(seed)
    well, page = np.repeat(wells, pages), np.tile(np.arange(pages), len(wells))
    label, clock = np.char.startswith(well, "b").astype(np.int64), (page / 2).astype(np.float32)
    prob = 1 / (1 + np.exp(-np.where(label == 1, clock - 5, -3) - rng.normal(0, 0.5, len(page))))
    words = dict.fromkeys(("stack", "path"), np.char.add(well, "_p1"))
    return PageRows(
        clamp_range=(0.0, 48.0),
        **words,
        key=np.array([f"{w}_{p}" for w, p in zip(well, page, strict=True)]),
        well=well,
        position=np.full(len(page), "1"),
        page=page,
        label=label,
        prob=prob.astype(np.float32),
        clock=clock,
        target=clock,
        predicted=clock + np.float32(1),
        constant=clock,
        constant_class=clock,
        onset=np.full(len(page), 2.0, np.float32),
    )


def finished(folder: Path, rows: PageRows) -> Path:
    save_rows(folder / "predictions" / "test.npz", rows)
    (folder / "run.json").write_text('{"task": "cells"}')
    (folder / "run.yaml").write_text("data: gone\n")
    return folder


def test_one_run_leaves_its_analysis_in_its_folder(tmp_path, capsys):
    folder = finished(tmp_path / "run", rows_of(0))
    assert cli.main(["temporal", str(folder), "--resamples", "100"]) == 0
    held = json.loads((folder / "temporal" / "temporal.json").read_text())
    assert list(held) == ["run"]
    windows = score_windows(rows_of(0))
    assert [window["auc"] for window in held["run"]["windows"]] == pytest.approx([w.scores["auc"] for w in windows])
    assert held["run"]["intervals_over"] == "4 wells"
    assert 4 < held["run"]["kinetics"]["half_time_h"] < 6
    with open(folder / "temporal" / "kinetics.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 30
    for name in ("temporal.png", "kinetics.png"):
        assert Image.open(folder / "temporal" / name).width > 600
    said = capsys.readouterr().out.splitlines()
    assert said[0].split()[:3] == ["test", "AUC", "0.95"]
    assert said[1].startswith("run")


def test_the_control_holds_every_well_by_its_own_onset(tmp_path, capsys):
    """b2 is infected at hour 9 and is told so from hour 5 on, before its own onset."""
    rows = rows_of(0)
    rows = replace(rows, onset=np.where(rows.well == "b2", 9, 2).astype(np.float32))
    folder = finished(tmp_path / "run", rows)
    assert cli.main(["temporal", str(folder), "--resamples", "50"]) == 0
    won = pairs = 0.0
    for i in np.flatnonzero((rows.label == 1) & (rows.clock < rows.onset)):
        rivals = rows.prob[(rows.label == 0) & (rows.clock < rows.onset[i])]
        won, pairs = won + (rows.prob[i] > rivals).sum(), pairs + len(rivals)
    held = json.loads((folder / "temporal" / "temporal.json").read_text())["run"]["control"]
    assert held["auc_before_onset"] == pytest.approx(won / pairs)
    assert (held["first_onset_h"], held["last_onset_h"], held["near_guess"]) == (2, 9, False)
    assert held["auc_before_onset_low"] <= held["auc_before_onset"] <= held["auc_before_onset_high"]
    assert "run: Before each well's own onset (2 to 9 h)" in capsys.readouterr().out


def test_runs_on_the_same_pages_are_averaged_and_folds_are_pooled(tmp_path):
    one, same = finished(tmp_path / "one", rows_of(0)), finished(tmp_path / "same", rows_of(1))
    other = finished(tmp_path / "other", rows_of(2, wells=("b3", "b4", "c3", "c4")))
    overlapping = finished(tmp_path / "overlapping", rows_of(3, wells=("b2", "b9", "c2", "c9")))
    assert list(temporal.gather_sets([one, overlapping], split="test")) == ["one", "overlapping"]
    mean = temporal.gather_sets([one, same], split="test")["mean of the runs"]
    wanted = dict(zip(rows_of(0).key, (rows_of(0).prob.astype(float) + rows_of(1).prob) / 2, strict=True))
    assert dict(zip(mean.key, mean.prob, strict=True)) == pytest.approx(wanted)
    pooled = temporal.gather_sets([one, other], split="test")["all runs' stacks"]
    assert sorted(set(pooled.well)) == ["b1", "b2", "b3", "b4", "c1", "c2", "c3", "c4"]
    assert len(pooled) == 8 * 30


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--split", "val"], "no predictions/val.npz; give --split test"),
        (["--auc", "1.5"], "must be in (0, 1]"),
        (["--width", "1"], "at most the width"),
        (["--resamples", "0"], "at least 1"),
        (["SAME", "--out", "x"], "given twice"),
        (["nowhere"], "of several runs give --out"),
        (["nowhere", "--out", "x"], "nowhere: no predictions/test.npz"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, words, part):
    folder = finished(tmp_path / "run", rows_of(0))
    assert cli.main(["temporal", str(folder), *(str(folder) if word == "SAME" else word for word in words)]) == 2
    said = capsys.readouterr().err
    assert part in said
    assert len(said.splitlines()) == 1
