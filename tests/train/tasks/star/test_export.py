"""One set of weights in all files of a run, and every number of them found again by another library."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tarpon.shards.manifest import Manifest
from tarpon.tools import cli
from tarpon.tools.evaluate import open_best
from tarpon.train import config, launch
from tarpon.train.checkpoint import load_tensors
from tarpon.train.evaluate import evaluate
from tarpon.train.tasks.star import record
from tarpon.train.tasks.star import task as star
from tarpon.train.tasks.star.data import Photos
from tarpon.train.tasks.star.export import KEYS, NAME, THUMBNAIL, read_thumbnails, without_weights
from tarpon.train.tasks.star.metrics.embeddings import load_embeddings
from tarpon.train.tasks.star.options import StarOptions


@pytest.fixture(scope="module")
def trained(star_shards, small, tmp_path_factory) -> Path:
    """Four epochs at so high a rate that the last are not the best, with an identity loss."""
    out = tmp_path_factory.mktemp("star") / "run"
    words = ["--epochs=4", "--eval_every=1", "--schedule.kind=constant", "--optim.lr=5e-3", "--loss.identity_weight=0.1"]
    assert launch.main(["star", f"--data={star_shards.root}", f"--out={out}", *small, *words]) == 0
    return out


def embedded(problem, split: str) -> dict[str, np.ndarray]:
    """row, embedding, embedding_flips of a split, by the model that the problem has."""
    problem.model.eval()
    with torch.no_grad():
        parts = [
            (batch["row"], problem.model(image=batch["image"], flips=batch["flips"])) for batch in problem.data.split(split)
        ]
    real = torch.cat([row for row, _ in parts]) >= 0
    found = {name: torch.cat([out[name] for _, out in parts])[real].numpy() for name in parts[0][1]}
    return found | {"row": torch.cat([row for row, _ in parts])[real].numpy()}


def precision(vectors: np.ndarray, row: np.ndarray, shards: Manifest, *, asked: str, within: bool = False) -> dict[str, float]:
    """mAP and CMC@1 of the protocol, by scikit-learn; also query's identity -> its mAP."""
    split, identity, dataset = (np.array(shards.column(name))[row] for name in ("split", "identity", "dataset"))
    gallery = np.isin(split, ("train",) if asked == "val" else ("train", "val"))
    each, first, of = [], [], []
    for query in np.flatnonzero(split == asked):
        among = gallery & (dataset == dataset[query]) if within else gallery
        alike, near = identity[among] == identity[query], vectors[among] @ vectors[query]
        each.append(average_precision_score(alike, near))
        first.append(alike[near.argmax()])
        of.append(identity[query])
    by_identity = {name: float(np.mean([value for value, own in zip(each, of, strict=True) if own == name])) for name in of}
    return {"map": float(np.mean(each)), "cmc_1": float(np.mean(first))} | by_identity


def test_every_file_tells_of_the_same_best_weights(trained, star_shards, context):
    held = torch.load(trained / NAME, weights_only=True)
    assert set(KEYS) <= set(held)
    run, options = config.read_run(trained, StarOptions, config.parser_for(StarOptions, recipe=record.recipe(), task="star"))
    problem = star.build(run, without_weights(options), context, encoders={"identities": held["identities"]})
    problem.model.load_state_dict(held["model_state_dict"])
    metrics = json.loads((trained / "metrics.json").read_text())
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    course = {line["step"]: line["val/map"] for line in lines if "val/map" in line}
    assert metrics["best_step"] == max(course, key=course.get) < max(course)
    best, meta = load_tensors(trained / "best.safetensors")
    assert meta["step"] == metrics["best_step"]
    assert all(torch.equal(value, best[name]) for name, value in held["model_state_dict"].items())
    found = embedded(problem, "test")
    stored = load_embeddings(trained / "predictions" / "test.parquet")
    np.testing.assert_array_equal(stored.row, found["row"])
    np.testing.assert_allclose(stored.embedding, found["embedding"], atol=1e-5)
    wanted = precision(found["embedding"], found["row"], star_shards, asked="test")
    flips = precision(found["embedding_flips"], found["row"], star_shards, asked="test")
    summary = json.loads((trained / "star_evaluation_summary.json").read_text())
    assert (summary["mAP"], summary["CMC@1"]) == pytest.approx((wanted["map"], wanted["cmc_1"]), abs=1e-6)
    assert (metrics["test"]["map"], metrics["test"]["cmc_1"]) == pytest.approx((wanted["map"], wanted["cmc_1"]), abs=1e-6)
    assert summary["flips"]["map"] == metrics["test"]["flips_map"] == pytest.approx(flips["map"], abs=1e-6)
    assert summary["reranked"]["map"] == metrics["test"]["reranked_map"] != summary["mAP"]
    with open(trained / "star_identity_metrics.csv") as file:
        table = {line["identity"]: line for line in csv.DictReader(file)}
    assert set(table) == set(wanted) - {"map", "cmc_1"}
    for name, line in table.items():
        assert float(line["mAP"]) == pytest.approx(wanted[name], abs=6e-5)
    val = embedded(problem, "val")
    chosen = precision(val["embedding"], val["row"], star_shards, asked="val")["map"]
    assert held["val_metrics"]["map"] == metrics["val"]["map"] == pytest.approx(chosen, abs=1e-6)
    assert course[metrics["best_step"]] == pytest.approx(chosen, abs=1e-6)


def test_the_folder_has_what_its_readers_look_for(trained):
    names = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    tables = {"star_identity_metrics.csv", "star_folder_metrics.csv", "star_evaluation_summary.json"}
    assert {"best.pth", "best.safetensors", "encoders.json", "run.yaml", "cmc.png", "predictions/val.parquet"} | tables <= names
    assert any(name.startswith("tensorboard/projector/") for name in names)
    held = torch.load(trained / NAME, weights_only=True)
    assert held["args"]["task"]["loss"]["identity_weight"] == 0.1
    assert held["identities"] == json.loads((trained / "encoders.json").read_text())["identities"]


def test_a_run_of_stars_is_scored_on_wildlife_within_each_data_set(trained, wild_shards):
    problem = open_best(trained, data=wild_shards.root, change="search.rerank=false").problem
    scores = evaluate(problem, "test").scalars
    found = embedded(problem, "test")
    within, over = (
        precision(found["embedding"], found["row"], wild_shards, asked="test", within=within) for within in (True, False)
    )
    assert scores["map"] == pytest.approx(within["map"], abs=1e-6)
    assert abs(over["map"] - within["map"]) > 1e-3
    tested = np.array(wild_shards.column("dataset"))[wild_shards.rows("test")]
    large = [name for name in set(tested) if (tested == name).sum() >= 4]
    assert scores["num_datasets"] == len(large) >= 2
    assert scores["map_macro"] == pytest.approx(np.mean([scores[f"map_{name}"] for name in large]))


def test_a_run_whose_processes_had_less_than_whole_animals_each_is_scored(trained):
    """Two processes of 2 photographs with 4 of an animal: 4 a batch, of which one process alone has 2."""
    change = "search.rerank=false micro_batch=2 global_batch=4 num_instances=4"
    apart = evaluate(open_best(trained, change=change).problem, "test").scalars
    whole = evaluate(open_best(trained, change="search.rerank=false").problem, "test").scalars
    assert apart["map"] == pytest.approx(whole["map"], abs=1e-6)


def test_other_ways_are_off_and_when_asked_stand_beside_plain_search(trained, tmp_path, capsys):
    pytest.importorskip("cv2")
    stored = json.loads((trained / "metrics.json").read_text())["test"]
    assert not [name for name in stored if name.startswith(("expanded_", "local_"))]
    change = "search.expand=2 search.local=3 search.rerank=false"
    assert cli.main(["evaluate", str(trained), "--change", change, "--json", str(tmp_path / "scores.json")]) == 0
    scores, said = json.loads((tmp_path / "scores.json").read_text())["test"], capsys.readouterr().out
    assert scores["map"] == pytest.approx(stored["map"], abs=1e-6)
    for way in ("expanded", "local"):
        assert 0 < scores[f"{way}_map"] <= 1
        assert f"{way}_map" in said
        assert f"{way}_cmc_1" in said
    assert scores["local_seconds"] > 0
    assert scores["local_cmc_20"] == pytest.approx(scores["cmc_20"])  # only the first three change places
    assert "reranked_map" not in said


def test_thumbnails_are_whole_photographs(star_shards, small_options):
    photos = Photos(config.Run(data=str(star_shards.root)), small_options)
    for row, small in zip((0, 5, 9), read_thumbnails(photos, np.array([0, 5, 9])), strict=True):
        width, height = star_shards.value(row, "width"), star_shards.value(row, "height")
        shown = small.any((0, 2)).sum() / small.any((1, 2)).sum()  # black is around it
        assert small.shape == (THUMBNAIL, THUMBNAIL, 3)
        assert shown == pytest.approx(width / height, abs=0.1)


def test_the_network_is_made_again_without_weights_from_anywhere(small_options):
    assert without_weights(StarOptions()).model.backbone.pretrained is False
    for strategy in ({"strategy": "finetune", "checkpoint": "gone"}, {"strategy": "cotrain", "wildlife": "gone"}):
        made = without_weights(StarOptions(model=small_options.model, **strategy))
        assert (made.checkpoint, made.wildlife, made.model) == (None, None, small_options.model)
