"""What a cells run and its folds leave behind: complete, valid, and the same when written again."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tarpon.shards.json_file import to_json, write_json
from tarpon.train.tasks.cells.folds import spread_over_folds, write_folds
from tarpon.train.tasks.cells.losses import target_hours
from tarpon.train.tasks.cells.metrics.predictions import PageRows, load_rows, save_rows
from tarpon.train.tasks.cells.metrics.scores import score
from tarpon.train.tasks.cells.outputs import read_run, write_outputs, write_tables
from tarpon.train.tasks.cells.summary import AUC_VERDICTS, MAE_VERDICTS, summary, verdict

FILES = {
    "training_curves.png",
    "validation_metrics.png",
    "prediction_scatter.png",
    "temporal_generalization.png",
    "calibration.png",
    "stacks.png",
    "training_summary.txt",
    "results.json",
    "temporal_metrics.json",
    "test_predictions.npz",
    "test_predictions.csv",
    "test_predictions.parquet",
    "val_predictions.csv",
    "val_predictions.parquet",
    "test_metadata.jsonl",
}


def pages(seed: int, *, stacks: int = 4, count: int = 40, first: int = 0, both: bool = True) -> PageRows:
    rng = np.random.default_rng(seed)
    number, page = np.repeat(np.arange(stacks) + first, count), np.tile(np.arange(count), stacks)
    label = number % 2 if both else number * 0
    name = np.array([f"{'cb'[value]}_p{at}" for value, at in zip(label, number, strict=True)])
    clock = (page / 2).astype(np.float32)
    target = target_hours(clock, label == 1)
    return PageRows(
        clamp_range=(0.0, 48.0),
        key=np.array([f"{n}_{p}" for n, p in zip(name, page, strict=True)]),
        stack=name,
        well=np.array(["cb"[value] for value in label]),
        position=number.astype(str),
        path=name,
        page=page,
        label=label,
        prob=np.clip(label * 0.5 + rng.random(len(page)) * 0.6, 0, 1).astype(np.float32),
        clock=clock,
        target=target,
        predicted=np.clip(target + rng.normal(0, 2, len(page)), 0, 48).astype(np.float32),
        constant=np.full(len(page), 9.0, np.float32),
        constant_class=np.full(len(page), 9.0, np.float32),
        onset=np.full(len(page), 2.0, np.float32),
    )


def run_folder(out: Path, *, splits: dict[str, PageRows], lines: bool = True) -> Path:
    for name, rows in splits.items():
        save_rows(out / "predictions" / f"{name}.npz", rows)
    written = [{"step": 1, "epoch": 0, "loss": 9.0, "loss/label": 0.7, "loss/hours": 8.3, "lr": 1e-4},
               {"step": 1, "epoch": 0, "val/loss": 9.5, "val/auc": 0.6, "val/mae": 9.0, "val/combined": 0.5, "val/ece": 0.1},
               {"step": 2, "epoch": 1, "loss": 1.0, "loss/label": 0.1, "loss/hours": 0.9, "lr": 5e-5},
               {"step": 2, "epoch": 1, "val/loss": 2.5, "val/auc": float("nan"), "val/mae": 3.0}]  # fmt: skip
    if lines:
        (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in written) + '{"step": 3, "lo')
    (out / "metrics.json").write_text(
        json.dumps({name: {"loss": 2.5, "loss_hours": 2.0} for name in splits} | {"best_step": 2})
    )
    (out / "run.json").write_text(json.dumps({"task": "cells"}))
    (out / "run.yaml").write_text("epochs: 2\noptim:\n  lr: 1.0e-4\nwandb:\n  name: named\n")
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run with all its outputs; figures are slow to draw, so it is written once."""
    folder = run_folder(tmp_path_factory.mktemp("made") / "run", splits={"val": pages(0), "test": pages(1, first=4)})
    assert {path.name for path in write_outputs(folder)} == FILES
    return folder


def test_every_file_is_there_and_readable(run):
    for path in (run / name for name in FILES):
        assert path.stat().st_size > 0
        if path.suffix == ".png":
            assert Image.open(path).size[0] > 400
    assert not list(run.glob(".*.tmp"))


def test_results_are_valid_json_in_both_vocabularies(run):
    held = json.loads((run / "results.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    want = score(pages(1, first=4))
    assert held["test_metrics"]["cls_auc"] == held["scores"]["test"]["auc"] == pytest.approx(want["auc"])
    assert held["test_metrics"]["reg_mae"] == pytest.approx(want["mae"])
    assert held["test_metrics"]["total_loss"] == 2.5
    assert held["best_val_metric"] == held["scores"]["val"]["combined"]
    assert held["config"]["optim"]["lr"] == 1e-4
    assert held["run_id"] == "run"
    assert held["experiment_name"] == "named"
    assert not held["control"]["test"]["near_guess"]  # right from hour 0 on
    assert held["scores"]["test"]["auc_before_onset"] == pytest.approx(want["auc_before_onset"])
    assert held["control"]["test"]["meaning"] in (run / "training_summary.txt").read_text()
    assert held["intervals_over"]["test"] == "4 stacks of 2 wells (it tells nothing of other wells)"
    assert held["one_well_classes"] == ["uninfected", "infected"]
    assert {stack["stack"] for stack in held["stacks"]["test"]} == {"c_p4", "b_p5", "c_p6", "b_p7"}
    assert [window["start_h"] for window in held["windows"]["test"]] == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0]


def test_predictions_and_metadata_have_equal_lengths_and_are_those_scored(run):
    rows = load_rows(run / "test_predictions.npz")
    assert len(rows) == len((run / "test_metadata.jsonl").read_text().splitlines()) == 160
    assert score(rows) == score(pages(1, first=4))


def test_files_of_earlier_versions_take_the_onset_from_the_configuration(tmp_path):
    folder = run_folder(tmp_path / "run", splits={"test": replace(pages(1), onset=None)})
    assert "auc_before_onset" not in read_run(folder).scores["test"]
    (folder / "run.yaml").write_text("infection_onset_hour: 2.0\n")
    assert read_run(folder).scores["test"]["auc_before_onset"] == score(pages(1))["auc_before_onset"]


def test_pages_are_counted_once_beside_windows_that_overlap(run):
    temporal = json.loads((run / "temporal_metrics.json").read_text())
    assert sum(temporal["metrics_by_window"]["rows"]) > 160
    counted = temporal["pages_by_hours"]
    assert sum(counted["uninfected"]) == sum(counted["infected"]) == 80
    assert counted["from_hour"] == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0]


def test_writing_again_from_the_folder_gives_the_same(run):
    texts = [name for name in FILES if name.endswith((".json", ".jsonl", ".txt"))]
    before = {name: (run / name).read_bytes() for name in texts}
    write_tables(read_run(run))
    assert before == {name: (run / name).read_bytes() for name in texts}


def test_one_class_and_no_test_split_and_no_curves(tmp_path):
    run = run_folder(tmp_path / "run", splits={"val": pages(0, both=False)}, lines=False)
    written = {path.name for path in write_outputs(run)}
    assert written == {name for name in FILES if not name.startswith("test_")}
    held = json.loads((run / "results.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert "test_metrics" not in held
    assert "cls_auc" not in held["val_metrics"]
    temporal = json.loads((run / "temporal_metrics.json").read_text())
    assert temporal["metrics_by_window"]["auc"] == [None] * len(temporal["window_centers"])
    assert "undefined" in (run / "training_summary.txt").read_text()


def test_a_folder_without_predictions_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no predictions"):
        write_outputs(tmp_path)


def test_summary_says_what_a_reader_must_know(run):
    told = (run / "training_summary.txt").read_text()
    assert "stacks come from one well" in told
    assert "over 1.5 times the training loss" in told  # 2.5 after 1.0
    assert "combined score on validation" in told
    got = tell_summary({"auc": 0.9, "auc_clock": 0.75})
    assert "not filmed at the same hours" in got
    assert "one well" not in got
    assert "overfitting" not in got


def test_wells_that_differ_between_the_splits_are_not_confounded(tmp_path):
    test = pages(1, first=4)
    other = replace(test, well=np.char.add(test.well, "2"))
    run = read_run(run_folder(tmp_path / "run", splits={"val": pages(0), "test": other}))
    write_tables(run)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["one_well_classes"] == []
    assert "one well" not in (tmp_path / "run" / "training_summary.txt").read_text()


def tell_summary(scores: dict[str, float], *, contrast: str | None = None) -> str:
    drawn = {"val": "4 wells"}
    return summary({"val": scores}, [], title="x", best_step=None, shown="val", confounded=(), drawn=drawn, contrast=contrast)


@pytest.mark.parametrize(("before", "praised"), [(0.5, True), (0.59, True), (0.8, False), (0.2, False), (None, False)])
def test_nothing_is_excellent_whose_control_is_not_near_a_guess(before, praised):
    control = {} if before is None else {"auc_before_onset": before}
    told = tell_summary({"auc": 0.99, "mae": 3.0} | control)
    assert ("excellent" in told) == praised
    assert ("not judged" in told) != praised


def test_summary_says_what_intervals_are_over_and_how_grey_levels_were_scaled():
    told = tell_summary({"auc": 0.9}, contrast="stack")
    assert "95% interval over 4 wells (val)" in told
    assert "contrast stack" in told
    assert "Train with contrast=first" in told
    assert "Train with contrast=first" not in tell_summary({"auc": 0.9}, contrast="first")


def test_verdicts_are_those_published():
    words = [verdict(value, AUC_VERDICTS, rising=True) for value in (0.95, 0.949, 0.9, 0.8, 0.79, None)]
    assert words == ["excellent", "good", "good", "moderate", "poor", "undefined"]
    words = [verdict(value, MAE_VERDICTS, rising=False) for value in (0.99, 1.0, 1.99, 4.9, 5.0)]
    assert words == ["excellent", "good", "good", "moderate", "poor"]


def test_json_is_plain_whole_and_without_nan(tmp_path):
    value = {
        "a": np.float32(0.5),
        "b": math.nan,
        "c": [np.int64(3), math.inf],
        "d": {"e": None, "f": np.arange(2)},
        "g": (Path("x"),),
    }
    assert to_json(value) == {"a": 0.5, "c": [3, None], "d": {"f": [0, 1]}, "g": ["x"]}
    write_json(tmp_path / "x.json", value)
    before = (tmp_path / "x.json").read_text()
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert (tmp_path / "x.json").read_text() == before  # a failure leaves what was there
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_folds_are_summed_up_and_pooled(tmp_path):
    parts = [pages(k, first=4 * k) for k in range(3)]
    folds = [run_folder(tmp_path / f"fold_{k}", splits={"val": pages(9), "test": part}) for k, part in enumerate(parts)]
    write_folds(tmp_path / "cv", folds)
    held = json.loads((tmp_path / "cv" / "cv_summary.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    values = [score(part)["mae"] for part in parts]
    mae = held["aggregated_metrics"]["mae"]
    assert mae["values"] == pytest.approx(values)
    assert mae["mean"] == pytest.approx(np.mean(values))
    assert mae["std"] == pytest.approx(np.std(values, ddof=1))
    assert held["std_ddof"] == 1
    assert (held["num_folds"], held["pooled"]["stacks"], held["pooled"]["rows"]) == (3, 12, 480)
    assert held["pooled"]["mae"] == pytest.approx(np.mean(values))  # folds of equal size
    assert held["pooled"]["auc_low"] <= held["pooled"]["auc"] <= held["pooled"]["auc_high"]
    assert [fold["test_stacks"][0] for fold in held["fold_results"]] == ["b_p1", "b_p5", "b_p11"]
    assert len(load_rows(tmp_path / "cv" / "test_predictions.npz")) == 480
    assert (tmp_path / "cv" / "cv_temporal_generalization.png").stat().st_size > 0


def test_a_stack_tested_twice_or_a_fold_without_test_is_refused(tmp_path):
    same = [run_folder(tmp_path / f"{k}", splits={"test": pages(0)}) for k in range(2)]
    with pytest.raises(ValueError, match="may be tested once only"):
        write_folds(tmp_path / "cv", same)
    unfinished = run_folder(tmp_path / "3", splits={"val": pages(0)})
    with pytest.raises(ValueError, match="let the fold finish"):
        write_folds(tmp_path / "cv", [same[0], unfinished])


def test_spread_over_folds_by_hand():
    got = spread_over_folds([{"auc": 0.8, "mae": 1.0, "mae_low": 0.5}, {"mae": 3.0}])
    assert got == {
        "auc": {"mean": 0.8, "std": None, "min": 0.8, "max": 0.8, "values": [0.8, None]},
        "mae": {"mean": 2.0, "std": pytest.approx(2**0.5), "min": 1.0, "max": 3.0, "values": [1.0, 3.0]},
    }


def test_read_run_prefers_the_test_split(run, tmp_path):
    assert read_run(run).shown == "test"
    assert read_run(run_folder(tmp_path / "other", splits={"val": pages(0)})).shown == "val"
