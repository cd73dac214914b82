"""The published fish commands as they stand: every documented command line, and one training from end to end."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from tarpon.shards.features import FeatureCache, open_features
from tarpon.shards.sources.fish.rows import HABITATS
from tarpon.train import config, launch
from tarpon.train.spelling import translate_options
from tarpon.train.tasks.fish import annotations as fish_annotations
from tarpon.train.tasks.fish import record as fish
from tarpon.train.usage import UsageError

ROWS, DIM = 60, 6
COLUMNS = ("image", "Folder", "Genus", "species", "Troph", "FeedingPath", *HABITATS, "NewOrder", "Order")


@pytest.fixture
def given(tmp_path) -> tuple[Path, Path]:
    """Features of 60 images and the annotations that they were made with; order is harmonised."""
    rng = np.random.default_rng(0)
    family = np.arange(ROWS) % 3
    rows = []
    for i, number in enumerate(family):
        troph = ["2.43", "3.1", "4.05"][number]
        blank = i % 10 == 0
        flags = ["" if blank else str(int(number == place % 3)) for place in range(8)]
        attributes = ["", "", *flags] if blank else [troph, "benthic", *flags]
        rows.append([f"http://x/{i}.jpg", "ABC"[number], "", "", *attributes, "Left/Sub", "L"])
    folder = tmp_path / "anns"
    folder.mkdir()
    split = np.array(["test" if i % 6 == 0 else "val" if i % 6 == 1 else "train" for i in range(ROWS)])
    for name in ("train", "test"):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            own = [row for row, where in zip(rows, split, strict=True) if (where == "test") == (name == "test")]
            csv.writer(file).writerows([COLUMNS, *own])
    labels = pa.table({
        "key": [f"row-{i}" for i in range(ROWS)],
        "group": [f"g-{i}" for i in range(ROWS)],
        "split": split.tolist(),
        "source": [f"{'ABC'[f]}/{i}.jpg" for i, f in enumerate(family)],
        "family": ["ABC"[f] for f in family],
        "order": ["Left"] * ROWS,
        "troph": pa.array([float(row[4]) if row[4] else None for row in rows], pa.float32()),
        "feeding": pa.array([row[5] or None for row in rows]),
        "habitat": pa.array([[int(c) for c in row[6:14]] if row[6] else None for row in rows], pa.list_(pa.int8())),
    })  # fmt: skip
    classes = {"families": list("ABC"), "orders": ["Left"], "habitats": list(HABITATS), "feeding": ["benthic"]}
    card = {"count": ROWS, "dim": DIM, "dtype": "fp32", "backbone": "none", "transform": None, "classes": classes}
    cache = FeatureCache(out=tmp_path / "features", card=card)
    cache.begin()
    for chunk in cache.chunks():
        cache.write(chunk, rng.normal(size=(ROWS, DIM)))
    cache.finish(labels)
    return tmp_path / "features", folder


def parsed(*words: str):
    parser = config.parser_for(fish.FishOptions, recipe=fish.recipe(), task="fish")
    return config.parse(parser, fish.FishOptions, translate_options(words, fish.SPELLINGS, {}, idle=fish.IDLE))[:2]


def test_the_documented_command_of_the_mixture_of_experts(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    line = (
        "--features-dir artifacts/features --ann-root data/anns --output-dir artifacts/mmoe --epochs 40 --batch-size 256 "
        "--lr 2e-3 --weight-decay 0 --patience 10 --lr-scheduler cosine --lr-warmup-epochs 5 --lr-step-size 10 --lr-gamma .1 "
        "--experts 8 --expert-hidden 2048 --tower-hidden 1024 --dropout 0.1 --gating-temperature 1.0 "
        "--loss-weights 1 .5 .5 .5 --label-smoothing 0.05 --class-weighting balanced --standardize --include-feedingpath "
        "--seed 17 --device cuda --wandb --wandb-entity lab --exp-name mmoe_8experts"
    )
    run, options = parsed(*line.split())
    assert (run.data, run.out, run.name, run.epochs) == ("artifacts/features", "artifacts/mmoe", "mmoe_8experts", 40)
    assert (run.wandb.enabled, run.wandb.project, run.wandb.entity, run.wandb.name) == (True, "fishnet", "lab", "mmoe_8experts")
    schedule, model = run.schedule, options.model
    assert (schedule.kind, schedule.warmup_epochs, schedule.step_epochs, schedule.factor) == ("cosine", 5, 10, 0.1)
    assert (model.experts, model.hidden, model.tower, options.annotations) == (8, 2048, 1024, "data/anns")
    assert (options.loss.weights, options.standardize, options.include_feedingpath) == ((1, 0.5, 0.5, 0.5), True, True)
    assert (options.loss.class_weighting, options.loss.label_smoothing) == ("balanced", 0.05)


@pytest.mark.parametrize("weights", ["--loss_weights 1.0,0.5,0.25,0.1", "--loss-weights 1.0 0.5 0.25 0.1"])
def test_the_documented_command_of_the_independent_heads(weights):
    line = "--features-dir f --ann-root a --output-dir o --architecture multihead --num-layers 4 --wandb --wandb-project mine"
    run, options = parsed(*line.split(), *weights.split())
    assert (options.model.architecture, options.model.layers, options.loss.weights) == ("multihead", 4, (1, 0.5, 0.25, 0.1))
    assert (run.wandb.enabled, run.wandb.project) == (True, "mine")


@pytest.mark.parametrize("value", ["../up", "", "a/b", ".hidden"])
def test_a_run_name_that_is_no_folder_name_is_refused(value):
    with pytest.raises(UsageError, match="must be a plain folder name"):
        parsed("--data=d", f"--exp-name={value}")


def test_the_published_training_runs_as_it_stands_in_a_folder_of_its_name(given, tmp_path, capfd):
    features, annotations = given
    line = (
        f"--features-dir {features} --ann-root {annotations} --output-dir {tmp_path / 'out'} --epochs 1 --batch-size 16 "
        f"--experts 2 --expert-hidden 8 --tower-hidden 8 --loss_weights 1.0,0.5,0.5,0.5 --exp-name first"
    )
    assert launch.main(["fish", *line.split()]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["first"]
    assert f"labels    those of the features; {annotations} holds 60 of 60 rows" in capfd.readouterr().out
    assert yaml.safe_load((tmp_path / "out/first/run.yaml").read_text())["loss"]["weights"] == [1.0, 0.5, 0.5, 0.5]
    assert json.loads((tmp_path / "out/first/metrics.json").read_text())["test"]["rows"] == 10
    assert launch.main(["fish", *line.split()]) == 2
    assert "give another --name than first" in capfd.readouterr().err
    again = line.replace("--epochs 1", "--epochs 2") + " --resume true"
    assert launch.main(["fish", *again.split()]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["first"]
    assert json.loads((tmp_path / "out/first/metrics.json").read_text())["steps"] == 4


def test_a_refused_training_makes_no_folder(given, tmp_path):
    features, _ = given
    words = [f"--data={features}", f"--out={tmp_path / 'out'}", "--micro_batch=4", "--global_batch=6"]
    assert launch.main(["fish", *words]) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("4.05", "4.06", r"troph of C/2\.jpg is 4\.0500\d* here and 4\.06 there"),
        ("Left/Sub", "Right", "order of .* is Left here and Right there"),
        ("benthic", "pelagic", "feeding of .* is benthic here and pelagic there"),
        ("http://x/", "http://x/y", "no row is of an image of"),
    ],
)
def test_annotations_that_contradict_the_features_are_refused(given, old, new, said):
    features, annotations = given
    path = annotations / "train.csv"
    for path in annotations.iterdir():
        path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=said):
        fish_annotations.compare_labels(open_features(features), annotations)


def test_annotations_of_features_packed_by_the_raw_order_agree(given):
    features, annotations = given
    for path in annotations.iterdir():
        path.write_text(path.read_text().replace("Left/Sub", "Else").replace(",L\n", ",Left\n").replace(",L\r", ",Left\r"))
    assert "60 of 60 rows" in fish_annotations.compare_labels(open_features(features), annotations)
