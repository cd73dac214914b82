"""The fish task: labels and what is missing of them, standardisation, processes, stopping and going on."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tarpon.shards.features import FeatureCache, FeatureTable, open_features
from tarpon.tools import cli
from tarpon.train import config, launch
from tarpon.train.checkpoint import load_tensors
from tarpon.train.config import Run
from tarpon.train.tasks.fish import export as fish_export
from tarpon.train.tasks.fish import record
from tarpon.train.tasks.fish import task as fish
from tarpon.train.tasks.fish.data import read_labels
from tarpon.train.tasks.fish.metrics.predictions import load_rows
from tarpon.train.tasks.fish.options import FishLoss, FishModel, FishOptions

ROOT = Path(__file__).resolve().parents[4]
FAMILIES, ORDERS, HABITATS = ["Ape", "Bee", "Cat"], ["Left", "Right"], ["warm", "cold", "wet", "dry", "a", "b", "c", "d"]
CLASSES = {"families": FAMILIES, "orders": ORDERS, "habitats": HABITATS, "feeding": ["benthic", "pelagic"]}
DIM = 12
MODEL = FishModel(experts=2, hidden=16, tower=8, dropout=0.0)
OPTIONS = FishOptions(model=MODEL)
SMALL = (
    "--model.experts=2",
    "--model.hidden=16",
    "--model.tower=8",
    "--micro_batch=8",
    "--global_batch=16",
    "--log_every=1",
    "--eval_every=100",
    "--engine.dtype=fp32",
)


def write_cache(out: Path, *, families: list[str] = FAMILIES, seed: int = 0, rows: int = 96) -> Path:
    """A cache of vectors around one centre a family, far from mean 0 and sd 1; every fifth row has no attributes."""
    rng = np.random.default_rng(seed)
    family = rng.integers(0, len(families), rows)
    centres = np.random.default_rng(7).normal(size=(len(families), DIM)) * 3 + 5
    known = np.arange(rows) % 5 > 0
    habitat = np.random.default_rng(8).integers(0, 2, (len(families), 8))
    labels = pa.table(
        {
            "key": [f"row-{i}" for i in range(rows)],
            "group": [f"species-{i // 2}" for i in range(rows)],
            "split": ["test" if i % 6 == 0 else "val" if i % 6 == 1 else "train" for i in range(rows)],
            "family": [families[f] for f in family],
            "order": pa.array([None if i == 2 else ORDERS[f % 2] for i, f in enumerate(family)], pa.string()),
            "troph": pa.array([2.5 + f / 2 if k else None for f, k in zip(family, known, strict=True)], pa.float32()),
            "feeding": pa.array([CLASSES["feeding"][f % 2] if k else None for f, k in zip(family, known, strict=True)]),
            "habitat": pa.array(
                [habitat[f].tolist() if k else None for f, k in zip(family, known, strict=True)], pa.list_(pa.int8())
            ),
        }
    )
    card = {"count": rows, "dim": DIM, "dtype": "fp32", "backbone": "none", "transform": None, "seed": seed}
    cache = FeatureCache(out=out, card=card | {"classes": CLASSES | {"families": sorted(families)}})
    cache.begin()
    for chunk in cache.chunks():
        cache.write(chunk, (centres[family] + rng.normal(size=(rows, DIM)))[chunk.start : chunk.stop])
    cache.finish(labels)
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_cache(tmp_path_factory.mktemp("fish") / "features")


@pytest.fixture
def table(data) -> FeatureTable:
    return open_features(data)


@pytest.fixture
def problem(data, context) -> Callable:
    """(options, data=, encoders=) -> the built problem."""

    def make(options: FishOptions = OPTIONS, *, data: Path = data, encoders: dict | None = None):
        run = Run(data=str(data), micro_batch=8, global_batch=16)
        return fish.build(run, options, context, encoders=encoders)

    return make


@pytest.fixture
def trained(data, tmp_path) -> Callable[..., Path]:
    """(name, options...) -> run folder, trained in this process."""

    def go(name: str, *options: str) -> Path:
        assert launch.main(["fish", f"--data={data}", f"--out={tmp_path / name}", *SMALL, *options]) == 0
        (folder,) = (tmp_path / name).iterdir()
        return folder

    return go


def test_an_epoch_has_every_training_row_once_and_splits_are_in_order(problem, table):
    made = problem()
    assert made.data.steps_per_epoch == 4  # 64 training rows, 16 a step
    stream = made.data.batches(0, 0)
    rows = torch.cat([next(stream)["row"] for _ in range(8)])
    assert sorted(rows.tolist()) == table.split("train").tolist()
    for name in ("val", "test"):
        found = torch.cat([batch["row"] for batch in made.data.split(name)])
        assert found[found >= 0].tolist() == table.split(name).tolist()
    assert {made.splits, made.unit} == {("val", "test"), "rows"}


def test_labels_are_places_among_the_classes_and_missing_ones_are_told_apart(table):
    labels = read_labels(table, replace(OPTIONS, include_feedingpath=True), CLASSES)
    assert list(labels) == ["family", "order", "habitat", "troph", "feeding"]
    for place in (1, 7, 50):
        assert FAMILIES[labels["family"][place]] == table.labels["family"][place].as_py()
    assert labels["order"][2] == -1
    assert (labels["order"] < 0).sum() == 1
    missing = np.arange(96) % 5 == 0
    np.testing.assert_array_equal((labels["habitat"] == -1).all(1), missing)
    np.testing.assert_array_equal((labels["habitat"] == -1).any(1), missing)
    np.testing.assert_array_equal(np.isnan(labels["troph"]), missing)
    np.testing.assert_array_equal(labels["feeding"] == -1, missing)


def test_an_unknown_label_is_an_error_that_names_it_or_is_left_out(problem, tmp_path):
    other = write_cache(tmp_path / "other", families=[*FAMILIES, "Yak", "Zebra"], seed=1)
    with pytest.raises(ValueError, match=r"family 'Yak' \(2 such\) is none of the 3 .* --unknown_labels mask"):
        problem(data=other, encoders=CLASSES)
    made = problem(replace(OPTIONS, unknown_labels="mask"), data=other, encoders=CLASSES)
    found = open_features(other)
    for batch in made.data.split("test"):
        for row, label in zip(batch["row"].tolist(), batch["family"].tolist(), strict=True):
            name = found.labels["family"][row].as_py() if row >= 0 else "Yak"
            assert label == (FAMILIES.index(name) if name in FAMILIES else -1)
        assert all(torch.isfinite(term) for term in made.loss(made.model(features=batch["features"]), batch).values())


@pytest.mark.parametrize("weighting", ["none", "balanced"])
def test_rows_without_attributes_change_neither_their_losses_nor_their_gradients(problem, weighting):
    made = problem(replace(OPTIONS, loss=FishLoss(class_weighting=weighting)))
    batch = next(made.data.batches(0, 0))
    known = torch.isfinite(batch["troph"])
    assert 0 < known.sum() < len(known)
    shorter = {name: value[known] for name, value in batch.items()}

    def terms(part: dict) -> tuple[dict, list]:
        made.model.zero_grad()
        losses = made.loss(made.model(features=part["features"]), part)
        chosen = {name: losses[name] for name in ("habitat", "troph")}
        sum(chosen.values()).backward()
        return chosen, [p.grad.clone() for p in made.model.parameters() if p.grad is not None]

    (whole, grads), (part, expected) = terms(batch), terms(shorter)
    # a term is a sum over known rows by the places of the batch, so what is missing adds nothing but its place
    ratio = len(shorter["row"]) / len(batch["row"])
    for name in whole:
        assert whole[name].item() == pytest.approx(part[name].item() * ratio, rel=1e-5)
    for one, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(one, other * ratio, atol=1e-6, rtol=1e-4)


def test_the_standardisation_is_that_of_the_training_rows_and_part_of_the_weights(problem, table):
    made = problem(replace(OPTIONS, standardize=True))
    train = table.features[table.split("train")].astype(np.float64)
    np.testing.assert_allclose(made.model.standardise.mean, train.mean(0), rtol=1e-5)
    np.testing.assert_allclose(made.model.standardise.std, train.std(0), rtol=1e-4)
    assert {"standardise.mean", "standardise.std"} <= made.model.state_dict().keys()


def test_the_checkpoint_alone_gives_the_predictions_of_the_run(trained, table):
    """Standardised, with all five tasks; what the run answered for test is what the checkpoint answers."""
    folder = trained("run", "--standardize=true", "--include_feedingpath=true", "--steps=40", "--optim.lr=1e-2")
    held = fish_export.load(folder / fish_export.NAME)
    options = held["args"]["task"]
    model = fish.build_model(FishModel(**options["model"]), held["dim"], held["outputs"], uncertainty=False)
    model.load_state_dict(held["model_state_dict"])
    rows = load_rows(folder / "predictions" / "test.npz")
    with torch.no_grad():
        out = model.eval()(features=torch.from_numpy(table.features[table.split("test")].copy()))
    np.testing.assert_array_equal(out["family"].argmax(1), rows.family_pred)
    np.testing.assert_allclose(out["troph"][:, 0], rows.troph_pred, atol=1e-5)
    np.testing.assert_allclose(out["habitat"].sigmoid(), rows.habitat_prob, atol=1e-5)
    np.testing.assert_array_equal(out["feeding"].argmax(1), rows.feeding_pred)
    assert held["encoders"] == CLASSES
    assert (rows.family == rows.family_pred).mean() > 0.9  # centres three sd apart
    scores = json.loads((folder / "results" / "metrics.json").read_text())["test"]
    assert scores["acc_family"] == pytest.approx((rows.family == rows.family_pred).mean())


@pytest.mark.parametrize("architecture", ["mmoe", pytest.param("multihead", marks=pytest.mark.slow)])
def test_stopping_and_going_on_is_bit_identical_with_dropout(trained, data, architecture, tmp_path):
    options = (f"--model.architecture={architecture}", "--model.dropout=0.3", "--loss.uncertainty_weighting=true")
    whole = trained("whole", *options, "--steps=11")
    broken = trained("broken", *options, "--steps=6")  # in the middle of the second epoch
    words = ["fish", f"--data={data}", f"--out={broken}", *SMALL, *options, "--steps=11", "--resume=true"]
    assert launch.main(words) == 0
    ends = [load_tensors(folder / "checkpoints" / "last.safetensors")[0] for folder in (whole, broken)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.slow
def test_two_processes_train_what_one_does(trained, data, tmp_path):
    options = ("--model.dropout=0", "--steps=8", "--standardize=true")
    one = trained("one", *options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("deepspeed")), "--num_accelerators=2", f"--master_port={port}"]
    command += ["train/launch.py", "fish", f"--data={data}", f"--out={tmp_path / 'two'}", *SMALL, *options]
    own = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")
    env = {key: value for key, value in os.environ.items() if key not in own} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (two,) = (tmp_path / "two").iterdir()
    assert json.loads((two / "run.json").read_text())["processes"] == 2
    scores = [json.loads((folder / "metrics.json").read_text())["test"] for folder in (one, two)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-3, abs=1e-4)
    ends = [load_tensors(folder / "best.safetensors")[0] for folder in (one, two)]
    for name in ends[0]:
        torch.testing.assert_close(ends[1][name], ends[0][name], atol=1e-4, rtol=1e-3)


def test_evaluate_scores_other_features_with_the_classes_of_the_run(trained, tmp_path, capsys):
    folder = trained("run", "--steps=20", "--optim.lr=1e-2")
    fewer = write_cache(tmp_path / "fewer", families=FAMILIES[:2], seed=2)  # its card knows two families, the model three
    assert cli.main(["evaluate", str(folder), "--data", str(fewer), "--json", str(tmp_path / "scores.json")]) == 0
    shown = {line.split()[0]: line.split()[-1] for line in capsys.readouterr().out.splitlines() if line}
    scores = json.loads((tmp_path / "scores.json").read_text())["test"]
    assert scores["acc_family"] > 0.9
    for name in ("acc_family", "acc_family_low", "balanced_acc_family", "acc_order", "f1_habitat", "mae_troph", "loss"):
        assert shown[name] == f"{scores[name]:.4f}"
    more = write_cache(tmp_path / "more", families=[*FAMILIES, "Yak"], seed=3)
    assert cli.main(["evaluate", str(folder), "--data", str(more)]) == 2
    assert "family 'Yak'" in capsys.readouterr().err
    assert cli.main(["evaluate", str(folder), "--data", str(more), "--change", "unknown_labels=mask"]) == 0


def test_features_without_validation_rows_are_refused(problem, tmp_path):
    out = write_cache(tmp_path / "none")
    labels = open_features(out).labels
    split = pa.array(["test" if name == "test" else "train" for name in labels["split"].to_pylist()])
    pq.write_table(labels.set_column(labels.column_names.index("split"), "split", split), out / "labels.parquet")
    card = json.loads((out / "features.json").read_text())
    del card["checksums"]  # as those of earlier versions, for the labels were changed
    (out / "features.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="no validation rows"):
        problem(data=out)


def test_the_recipes_parse_and_the_default_one_is_the_defaults():
    def run_of(*words: str):
        return config.parse(
            config.parser_for(FishOptions, recipe=record.recipe(), task="fish"), FishOptions, ["--data=d", *words]
        )

    folder = ROOT / "train" / "recipes" / "fish"
    assert run_of("--config", str(folder / "default.yaml"))[:2] == run_of()[:2]
    run, options, _ = run_of("--config", str(folder / "demo.yaml"))
    assert (run.micro_batch, options.standardize, options.model.hidden) == (64, True, 256)
