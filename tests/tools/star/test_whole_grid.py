"""The whole grid: 2 losses x 3 strategies in 8 trainings of one epoch; its runs asked about animals that are in no split."""

import csv
import json
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tarpon.tools import cli
from tarpon.tools.star import grid
from tarpon.tools.star.demo import lab
from tarpon.train import launch
from tarpon.train.tasks.star import export
from tarpon.train.tasks.star.metrics.embeddings import load_embeddings

TINY = (
    "model.backbone.name=test_vit model.backbone.pretrained=false model.backbone.image_size=32 model.width=16 "
    "model.embedding_dim=16 model.head_depth=1 num_instances=2 micro_batch=8 global_batch=8 search.k1=6 search.k2=2 "
    "search.expand=2 search.flips=false engine.dtype=fp32 loader.threads=1 schedule.kind=constant eval_every=1"
)


@pytest.fixture(scope="module")
def trained(star_run, wild_shards, tmp_path_factory):
    """The grid's folder. Its trainings are made in this process, which spares eight starts; the command finds them done."""
    out, data, wildlife = tmp_path_factory.mktemp("grid") / "runs", str(star_run.shards.root), str(wild_shards.root)
    shared = grid.common_options(None, TINY, 1)
    for experiment in grid.plan_experiments(data, out, wildlife, list(grid.STRATEGIES), list(grid.LOSSES), shared=shared):
        for training in experiment.trainings:
            training.out.mkdir(parents=True)
            (training.out / grid.CLOCK).write_text(json.dumps({"before": 0, "begun": time.time()}))
            assert launch.main(["star", *training.words, f"--out={training.out}"]) == 0
    words = ["--data", data, "--wildlife", wildlife, "--out", str(out)]
    assert cli.main(["grid", "star", *words, "--change", TINY, "--epochs", "1"]) == 0
    return out


@pytest.fixture(scope="module")
def results(trained):
    held = json.loads((trained / "results_final.json").read_text())
    assert held["num_experiments"] == 6
    return held["results"]


@pytest.mark.slow
def test_six_results_each_with_every_way_of_searching(trained, results, star_run, wild_shards):
    asked = [(one["strategy"], one["loss_type"]) for one in results]
    assert asked == [(strategy, loss) for strategy in grid.STRATEGIES for loss in grid.LOSSES]
    for one in results:
        scores = one["all_metrics"]
        assert all(0 < scores[f"{way}map"] <= 1 for way in ("", "expanded_", "reranked_"))
        assert one["star_mAP"] == scores["map"]
        assert one["total_time_seconds"] > 0
        assert set(one["wildlife_per_dataset"]) <= {*wild_shards.card["datasets"], grid.AVERAGE}
    with open(trained / "results.csv", newline="") as file:
        assert [float(row["star_mAP"]) for row in csv.DictReader(file)] == [one["star_mAP"] for one in results]
    weights = {one["name"]: torch.load(last_run(trained, one) / export.NAME, weights_only=True) for one in results}
    sums = {
        name: sum(float(value.double().sum()) for value in held["model_state_dict"].values()) for name, held in weights.items()
    }
    assert len(set(sums.values())) == 6  # six networks
    for loss in grid.LOSSES:
        own = set(weights[f"star_only_{loss}"]["identities"])
        assert set(weights[f"pretrain_finetune_{loss}"]["identities"]) == own
        assert set(weights[f"cotrain_{loss}"]["identities"]) > own  # and those of wildlife


@pytest.mark.slow
def test_animals_held_out_when_packing_are_in_no_gallery_and_are_scored_as_new(trained, results, star_run):
    novel = np.asarray(star_run.shards.column("novel"), bool)
    assert novel.any()
    held_out = set(star_run.shards.column("identity")[novel])
    for one in results:
        assert one["all_metrics"]["num_new_queries"] == novel.sum()
        rows = load_embeddings(last_run(trained, one) / "predictions" / "test.parquet")
        best_known, best_new = [], []
        gallery = rows.indices(2)
        assert not held_out & set(rows.identity[gallery])
        unit = rows.embedding / np.linalg.norm(rows.embedding, axis=1, keepdims=True)
        for role, best in ((1, best_known), (4, best_new)):
            best += [float((unit[gallery] @ unit[row]).max()) for row in rows.indices(role)]
        pairs = [(known > new) + 0.5 * (known == new) for known in best_known for new in best_new]
        assert one["all_metrics"]["open_auroc"] == pytest.approx(np.mean(pairs), abs=2e-3)  # equal but for rounding


@pytest.mark.slow
def test_the_decision_on_stars_of_another_lab_follows_the_threshold_learnt_on_validation(trained, star_run, tmp_path):
    lab.write(tmp_path / "other", identities=4, distractors=0, sessions=2, images=1, size=64, seed=9)
    run, out = trained / "star_only_triplet", tmp_path / "out"
    words = [f"--checkpoint={run}", f"--images={tmp_path / 'other'}", f"--gallery={star_run.shards.root}", f"--out={out}"]
    assert cli.main(["predict", "star", *words, "--splits=train,val", "--top=1", "--threads=1"]) == 0
    novelty = torch.load(run / export.NAME, weights_only=True)["novelty"]
    (kept,) = out.glob("gallery_*.parquet")
    known, new = (np.array(pq.read_table(path)["embedding"].to_pylist()) for path in (kept, out / "embeddings.parquet"))
    best = (new @ known.T).max(1)
    rows = list(csv.DictReader((out / "matches.csv").open()))
    assert len(rows) == len(best) >= 6
    clear = np.abs(best - novelty["threshold"]) > 1e-5
    decided = np.array([row["decision"] == "new" for row in rows])
    np.testing.assert_array_equal(decided[clear], (best < novelty["threshold"])[clear])


def last_run(trained, one: dict):
    """The folder whose scores are those of an experiment."""
    folder = trained / one["name"]
    return folder / "finetune" if one["strategy"] == "pretrain_finetune" else folder
