"""One training a fold, each once, and the sum of them."""

import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tarpon.tools.cells import folds
from tarpon.train.tasks.cells.metrics.predictions import PageRows, load_rows, save_rows
from tarpon.train.tasks.cells.metrics.scores import score
from tarpon.train.tasks.cells.options import CellsOptions
from tarpon.train.tasks.cells.rows import select_rows

OPTIONS = "epochs=1 model.backbone.name=resnet10t model.backbone.pretrained=false model.backbone.image_size=32 micro_batch=8 "
OPTIONS += "global_batch=8 engine.dtype=fp32 loader.threads=1"


def write_run(folder, manifest, fold):
    """The folder of a finished fold, with answers made up."""
    at = np.flatnonzero(np.asarray(manifest.column("fold")) == fold)
    text = {name: np.array(manifest.column(name))[at].astype(str) for name in ("key", "stack", "well", "position")}
    label, clock = np.asarray(manifest.column("label"))[at].astype(np.int64), np.asarray(manifest.column("hours"))[at]
    rng = np.random.default_rng(fold)
    rows = PageRows(
        clamp_range=(0.0, 48.0),
        **text,
        path=text["key"],
        page=np.asarray(manifest.column("page"))[at].astype(np.int64),
        label=label,
        prob=np.clip(0.4 * label + 0.6 * rng.random(len(at)), 0, 1).astype(np.float32),
        clock=clock,
        target=clock,
        predicted=clock + np.float32(1 + fold),
        constant=clock,
        constant_class=clock,
    )
    save_rows(folder / "predictions" / "test.npz", rows)
    (folder / "metrics.json").write_text(json.dumps({"test": score(rows, resamples=0)}))


def test_finished_folds_are_summed_up_and_none_is_trained_again(cells_shards, tmp_path, capsys):
    for fold in range(3):
        write_run(tmp_path / f"fold-{fold}", cells_shards, fold)
    assert folds.cells(data=str(cells_shards.root), out=str(tmp_path), config="nowhere.yaml") == 0
    held = json.loads((tmp_path / "cv_summary.json").read_text())
    assert held["aggregated_metrics"]["mae"]["values"] == [1.0, 2.0, 3.0]
    assert held["pooled"]["mae"] == pytest.approx(2.0)  # folds of equal size
    assert len(load_rows(tmp_path / "test_predictions.npz")) == len(cells_shards)
    said = capsys.readouterr().out
    assert "fold 2 (trained before)" in said
    line = next(line for line in said.splitlines() if line.startswith("Error of the hours"))
    assert line.split()[4:8] == ["2.0000", "±", "1.0000", "2.0000"]
    assert "WARNING" not in said


def test_shards_without_folds_are_refused_before_any_training(cells_shards, tmp_path):
    data = shutil.copytree(cells_shards.root, tmp_path / "shards")
    card = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(card | {"folds": 0}))
    with pytest.raises(ValueError, match="pack again with --folds K"):
        folds.cells(data=str(data), out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_confounded_wells_are_said():
    content = {"num_folds": 2, "aggregated_metrics": {"auc": {"mean": 0.5, "std": None}}, "pooled": {}}
    said = folds.format_summary(content | {"one_well_classes": ("infected",)})
    assert said[-1].startswith("WARNING: all infected stacks come from one well")
    assert not any("WARNING" in line for line in folds.format_summary(content | {"one_well_classes": ()}))


def check_unseen_wells(manifest, out) -> None:
    """Each fold was tested on wells it had not seen in train or val, and the pooled scores are those of all answers."""
    well, parts = np.array(manifest.column("well")), []
    for k in range(3):
        rows = select_rows(manifest, CellsOptions(fold=k))
        parts.append(load_rows(out / f"fold-{k}" / "predictions" / "test.npz"))
        assert set(parts[-1].well) == set(well[rows["test"]])
        assert not set(parts[-1].well) & set(well[np.concatenate([rows["train"], rows["val"]])])
    held = json.loads((out / "cv_summary.json").read_text())
    label, prob = (np.concatenate([getattr(part, name) for part in parts]) for name in ("label", "prob"))
    assert held["pooled"]["auc"] == pytest.approx(roc_auc_score(label, prob))
    assert (held["pooled"]["rows"], held["pooled"]["wells"], held["intervals_over"]) == (len(manifest), 6, "6 wells")
    assert held["control"]["meaning"].startswith("Before the onset")
    by_fold = [json.loads((out / f"fold-{k}" / "results.json").read_text())["scores"]["test"]["auc"] for k in range(3)]
    assert held["aggregated_metrics"]["auc"]["values"] == pytest.approx(by_fold)
    assert held["aggregated_metrics"]["auc"]["std"] == pytest.approx(np.std(by_fold, ddof=1))


@pytest.mark.slow
def test_every_fold_is_trained_and_a_lost_one_alone_again(cells_shards, tmp_path, capsys):
    out = tmp_path / "cv"
    assert folds.cells(data=str(cells_shards.root), out=str(out), change=OPTIONS) == 0
    before = {k: (out / f"fold-{k}" / "best.safetensors").stat().st_mtime_ns for k in range(3)}
    tested = [set(fold["test_stacks"]) for fold in json.loads((out / "cv_summary.json").read_text())["fold_results"]]
    assert set.union(*tested) == set(cells_shards.column("stack"))
    assert sum(map(len, tested)) == 12
    check_unseen_wells(cells_shards, out)
    shutil.rmtree(out / "fold-1")
    capsys.readouterr()
    assert folds.cells(data=str(cells_shards.root), out=str(out), change=OPTIONS) == 0
    after = {k: (out / f"fold-{k}" / "best.safetensors").stat().st_mtime_ns for k in range(3)}
    assert [before[k] == after[k] for k in range(3)] == [True, False, True]
    said = capsys.readouterr().out
    assert ["(trained before)" in line for line in said.splitlines() if line.startswith("fold ")] == [True, False, True]
