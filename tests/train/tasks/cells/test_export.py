"""Runs of the cells task: one set of numbers in all files, going on, several processes, and what is warned of."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score

from tarpon.shards.sources.cells.schema import CLASSES
from tarpon.shards.sources.cells.source import CellsSource
from tarpon.tools.cells.demo import lab as demo
from tarpon.train import config, launch
from tarpon.train.checkpoint import load_tensors
from tarpon.train.tasks.cells import task as cells
from tarpon.train.tasks.cells.export import NAME, without_weights
from tarpon.train.tasks.cells.metrics.predictions import load_rows
from tarpon.train.tasks.cells.options import CellsOptions
from tarpon.train.tasks.cells.record import recipe

ROOT = Path(__file__).resolve().parents[4]
# test_vit has layer norms only, so its answers do not depend on how a batch is shared out
SMALL = (
    "--model.backbone.name=test_vit",
    "--model.backbone.image_size=32",
    "--model.hidden_dim=16",
    "--micro_batch=4",
    "--global_batch=8",
    "--log_every=1",
    "--engine.dtype=fp32",
    "--loader.threads=1",
)


@pytest.fixture
def trained(cells_lab, cells_shards, tmp_path) -> Callable[..., Path]:
    """(name, options...) -> run folder, trained in this process on the demo's own file."""

    def go(name: str, *options: str, data: str = cells_shards.root, small: tuple[str, ...] = SMALL) -> Path:
        words = ["cells", "--config", str(cells_lab / "cells.yaml"), f"--data={data}", f"--out={tmp_path / name}"]
        assert launch.main([*words, *small, *options]) == 0
        return tmp_path / name

    return go


@pytest.fixture
def finished(trained) -> Path:
    """Three epochs at so high a rate that the last are not the best."""
    return trained("run", "--epochs=3", "--schedule.kind=constant", "--optim.lr=2e-2", "--model.window=3", "--contrast=stack")


def test_every_file_of_a_run_tells_of_the_same_best_weights(finished, context):
    """best.pt gives the stored predictions, and these give every number that is told, by formulas written anew here."""
    held = torch.load(finished / NAME, weights_only=True)
    run, options = config.read_run(finished, CellsOptions, config.parser_for(CellsOptions, recipe=recipe(), task="cells"))
    problem = cells.build(run, without_weights(options), context)
    problem.model.load_state_dict(held["model_state_dict"])
    problem.model.eval()
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    course = {line["step"]: line["val/combined"] for line in lines if "val/combined" in line}
    results, metrics = (json.loads((finished / name).read_text()) for name in ("results.json", "metrics.json"))
    assert results["best_step"] == metrics["best_step"] == max(course, key=course.get) < max(course)
    with torch.no_grad():
        parts = [(batch, problem.model(clip=batch["clip"], valid=batch["valid"])) for batch in problem.data.split("test")]
    real = torch.cat([batch["row"] for batch, _ in parts]) >= 0
    prob = torch.cat([out["label"].softmax(1)[:, 1] for _, out in parts])[real].numpy()
    hours = torch.cat([out["hours"].clamp(*options.clamp_range) for _, out in parts])[real].numpy()
    rows = load_rows(finished / "predictions" / "test.npz")
    with np.load(finished / "test_predictions.npz") as npz:
        np.testing.assert_allclose(npz["cls_preds"], prob, atol=1e-5)
        np.testing.assert_allclose(npz["time_preds"], hours, atol=1e-4)
        label, target = npz["cls_targets"], npz["time_targets"]
    told = [json.loads(line) for line in (finished / "test_metadata.jsonl").read_text().splitlines()]
    assert [line["key"] for line in told] == rows.key.tolist()
    assert [line["label"] for line in told] == label.tolist()
    mae, f1 = np.abs(rows.predicted.astype(float) - target).mean(), f1_score(label, rows.prob >= 0.5, zero_division=0)
    wanted = {"auc": roc_auc_score(label, rows.prob), "f1": f1, "mae": mae}
    wanted["combined"] = 0.6 * f1 + 0.4 * (1 - mae / 3.5)
    summary = (finished / "training_summary.txt").read_text()
    for name, value in wanted.items():
        theirs = {"auc": "cls_auc", "f1": "cls_f1", "mae": "reg_mae"}.get(name, name)
        assert results["test_metrics"][theirs] == pytest.approx(value, abs=1e-6)
        assert metrics["test"][name] == pytest.approx(value, abs=1e-6)
        assert f"{value:.{3 if name == 'mae' else 4}f}" in summary
    assert results["best_val_metric"] == pytest.approx(max(course.values()))
    assert held["val_metrics"]["combined"] == pytest.approx(max(course.values()))
    tables_tell(results, json.loads((finished / "temporal_metrics.json").read_text()), told, prob, hours, target)


def tables_tell(results: dict, temporal: dict, told: list[dict], prob: np.ndarray, hours: np.ndarray, target) -> None:
    """Classes, windows of time, stacks and calibration, counted anew from the answers and the lines of test_metadata.jsonl."""
    label, clock = np.array([line["label"] for line in told]), np.array([line["hours_since_start"] for line in told])
    stack, error = np.array([line["stack"] for line in told]), np.abs(hours.astype(float) - target)
    right, scores = (prob >= 0.5) == label, results["scores"]["test"]
    for number, name in enumerate(CLASSES):
        assert scores[f"mae_{name}"] == pytest.approx(error[label == number].mean(), abs=1e-4)
    tenth = np.minimum((prob * 10).astype(int), 9)
    gaps = [(tenth == k).sum() * abs(prob[tenth == k].mean() - label[tenth == k].mean()) for k in np.unique(tenth)]
    assert scores["ece"] == pytest.approx(sum(gaps) / len(prob), abs=1e-4)
    assert temporal["window_centers"] == [3.0]  # of 3.5 hours, all in the first window
    assert (clock < 6).all()
    (window,) = results["windows"]["test"]
    for of in (window, {name: value[0] for name, value in temporal["metrics_by_window"].items()}):
        assert of["auc"] == pytest.approx(roc_auc_score(label, prob), abs=1e-4)
        assert of["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
        assert of["mae"] == pytest.approx(error.mean(), abs=1e-4)
    assert [record["stack"] for record in results["stacks"]["test"]] == sorted(set(stack))
    for record in results["stacks"]["test"]:
        own = stack == record["stack"]
        assert record["rows"] == own.sum() == 8
        assert record["prob"] == pytest.approx(prob[own].mean(), abs=1e-5)
        assert record["mae"] == pytest.approx(error[own].mean(), abs=1e-4)
        assert record["accuracy"] == pytest.approx(right[own].mean(), abs=1e-6)


def test_the_backbone_stands_still_when_told_to(trained):
    small = tuple(word for word in SMALL if "backbone.name" not in word)
    folder = trained("still", "--model.backbone.name=lcnet_035", "--model.train_backbone=false", "--steps=3", small=small)
    run, options = config.read_run(folder, CellsOptions, config.parser_for(CellsOptions, recipe=recipe(), task="cells"))
    first = cells.build_model(run, options).state_dict()
    last, _ = load_tensors(folder / "best.safetensors")
    still = {name: torch.equal(first[name], last[name]) for name in first if name.startswith("encoder")}
    assert len(still) > 50
    assert all(still.values())  # running means and counts too
    assert not torch.equal(first["classifier.1.weight"], last["classifier.1.weight"])


def test_going_on_ends_where_one_run_does(trained, cells_lab, cells_shards):
    options = ("--model.dropout=0.3", "--balance=true", "--model.window=3", "--schedule.kind=constant")
    whole, broken = trained("whole", *options, "--steps=7"), trained("broken", *options, "--steps=3")
    words = ["cells", f"--config={cells_lab / 'cells.yaml'}", f"--data={cells_shards.root}", f"--out={broken}"]
    assert launch.main([*words, *SMALL, *options, "--steps=7", "--resume=true"]) == 0
    ends = [load_tensors(folder / "checkpoints" / "last.safetensors")[0] for folder in (whole, broken)]
    assert any(name.startswith("optimizer") for name in ends[0])
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.slow
def test_two_processes_train_what_one_does(trained, cells_lab, cells_shards, tmp_path):
    options = ("--model.dropout=0", "--steps=6", "--model.window=3", "--eval_every=2")
    one = trained("one", *options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("deepspeed")), "--num_accelerators=2", f"--master_port={port}"]
    command += ["train/launch.py", "cells", f"--config={cells_lab / 'cells.yaml'}", f"--data={cells_shards.root}"]
    command += [f"--out={tmp_path / 'two'}", *SMALL, *options]
    own = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")
    env = {key: value for key, value in os.environ.items() if key not in own} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    two = tmp_path / "two"
    assert json.loads((two / "run.json").read_text())["processes"] == 2
    scores = [json.loads((folder / "metrics.json").read_text())["test"] for folder in (one, two)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-3, abs=1e-4)
    ends = [load_tensors(folder / "best.safetensors")[0] for folder in (one, two)]
    for name in ends[0]:
        torch.testing.assert_close(ends[1][name], ends[0][name], atol=1e-4, rtol=1e-3)


def test_classes_of_one_well_each_are_warned_of_where_training_begins(trained, tmp_path, pack_cells, capsys):
    lab = tmp_path / "confounded"
    demo.write(lab, stacks=8, pages=4, size=48, confounded=True, onset=0.5)
    manifest, _ = pack_cells(lab, tmp_path / "shards", source=CellsSource(group="stack"))
    capsys.readouterr()
    folder = trained("confounded", "--steps=1", data=manifest.root)
    warned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert len(warned) == 2
    for line, name, well in zip(warned, CLASSES, ("c4", "b2"), strict=True):
        assert f"every {name} stack is from well" in line
        assert well in line
        assert "class and well cannot be told apart" in line
    assert "come from one well" in (folder / "training_summary.txt").read_text()
    trained("by-well", "--steps=1")
    assert "warning" not in capsys.readouterr().out
