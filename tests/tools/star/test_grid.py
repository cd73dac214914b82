"""The grid: its runs and folders, what is trained and what is not again, and what is told of them."""

import csv
import json
import os
import shutil

import numpy as np
import pytest

from tarpon.tools import cli
from tarpon.tools.star import grid
from tarpon.train import launch

SIX = [f"{strategy}_{loss}" for strategy in ("star_only", "pretrain_finetune", "cotrain") for loss in ("circle", "triplet")]
KEYS = {
    "name", "strategy", "loss_type", "star_mAP", "star_rank1", "star_rank5", "total_time_seconds", "best_epoch", "all_metrics",
    "wildlife_per_dataset",
}  # fmt: skip
TINY = (
    "model.backbone.name=test_vit model.backbone.pretrained=false model.backbone.image_size=32 model.width=16 "
    "model.embedding_dim=16 model.head_depth=1 num_instances=2 batch-size=8 search.k1=6 search.k2=2 engine.dtype=fp32 "
    "loader.threads=1 log_every=1 schedule.kind=constant eval_every=1"
)


def call(star_shards, out, *words: str) -> int:
    return cli.main(["grid", "star", "--data", str(star_shards.root), "--out", str(out), "--change", TINY, *words])


def write_run(folder, *, score: float, best: int, apart: dict | None = None) -> None:
    """What the grid reads of a finished run."""
    folder.mkdir(parents=True)
    test = {"map": score, "cmc_1": score + 0.1, "cmc_5": score + 0.2, "flips_map": 0.9, "reranked_map": 0.95}
    (folder / "metrics.json").write_text(json.dumps({"test": test, "best_step": 10 * best}))
    lines = [{"step": 10 * epoch, "epoch": epoch, "val/map": 0.1} for epoch in (1, 2, 3)]
    lines.insert(1, {"step": 20, "epoch": 1, "loss": 1.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if apart is not None:
        (folder / grid.PER_DATASET).write_text(json.dumps(apart))


def write_all(out, strategies=tuple(grid.STRATEGIES)) -> None:
    apart = {"ATRW": {"mAP": 0.5, "rank1": 0.25}, "_average": {"mAP": 0.5, "rank1": 0.25}}
    for number, name in enumerate(name for name in SIX if name.rpartition("_")[0] in strategies):
        parts = grid.STRATEGIES[name.rpartition("_")[0]]
        for part in parts:
            folder = out / name / part if len(parts) > 1 else out / name
            write_run(folder, score=0.1 * (number + 1), best=2, apart=apart)


def test_a_dry_run_lists_six_runs_in_six_folders_and_touches_nothing(star_shards, wild_shards, tmp_path, capsys):
    out = tmp_path / "runs"
    assert call(star_shards, out, "--wildlife", str(wild_shards.root), "--epochs", "3", "--dry_run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "6 runs"
    assert [line for line in lines[1:] if not line.startswith(" ")] == SIX
    commands = [line.split() for line in lines if "launch.py" in line]
    assert len({words[-1] for words in commands}) == len(commands) == 8
    for words in commands:
        assert words[2] == "star"
        assert "--epochs=3" in words
        weights = {word for word in words if "_weight=" in word}
        circle = "circle" in words[-1]
        assert weights == {f"--loss.circle_weight={int(circle)}", f"--loss.triplet_weight={int(not circle)}"}
        data = wild_shards.root if words[-1].endswith("pretrain") else star_shards.root
        assert f"--data={data}" in words
    tune = [words for words in commands if words[-1].endswith("/finetune")]
    for words, loss in zip(tune, ("circle", "triplet"), strict=True):
        assert f"--checkpoint={out / f'pretrain_finetune_{loss}' / 'pretrain'}" in words  # the run's own
    assert not out.exists()


def test_finished_runs_are_told_and_none_is_trained_again(star_shards, wild_shards, tmp_path, capsys):
    write_all(tmp_path)
    assert call(star_shards, tmp_path, "--wildlife", str(wild_shards.root)) == 0
    held = json.loads((tmp_path / "results_final.json").read_text())
    assert set(held) == {"timestamp", "num_experiments", "results"}
    assert held["num_experiments"] == 6
    assert [result["name"] for result in held["results"]] == SIX
    assert all(set(result) == KEYS for result in held["results"])
    second = held["results"][1]
    assert (second["strategy"], second["loss_type"], second["best_epoch"]) == ("star_only", "triplet", 2)
    assert (second["star_mAP"], second["star_rank1"], second["star_rank5"]) == pytest.approx((0.2, 0.3, 0.4))
    assert second["all_metrics"]["reranked_map"] == 0.95  # beside, never instead
    assert second["wildlife_per_dataset"]["ATRW"] == {"mAP": 0.5, "rank1": 0.25}
    first = json.loads((tmp_path / "results.json").read_text())
    assert first["results"] == held["results"]
    with open(tmp_path / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == SIX
    assert [float(row["star_mAP"]) for row in rows] == pytest.approx([result["star_mAP"] for result in held["results"]])
    assert rows[0]["wildlife_mAP"] == "0.5"
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if line.startswith("pretrain_finetune_triplet  "))
    assert line.split() == ["pretrain_finetune_triplet", "0.4000", "0.5000", "0.6000", "2", "0.0", "0.5000"]
    assert not list(tmp_path.glob(".*"))


def test_the_stars_alone_need_no_wildlife(star_shards, tmp_path, capsys):
    write_all(tmp_path, ("star_only",))
    assert call(star_shards, tmp_path, "--strategies", "star_only", "--losses", "triplet") == 0
    (result,) = json.loads((tmp_path / "results_final.json").read_text())["results"]
    assert (result["name"], result["star_mAP"]) == ("star_only_triplet", pytest.approx(0.2))
    assert set(result["wildlife_per_dataset"]) == set()
    assert capsys.readouterr().out.splitlines()[-3].endswith("-")


def test_mistakes_are_one_line_before_any_training(star_shards, wild_shards, with_stars, tmp_path, capsys):
    wild = ("--wildlife", str(wild_shards.root))
    for words, said in (
        (("--strategies", "both"), "strategies='both': both is none of star_only, pretrain_finetune, cotrain"),
        (("--losses", ""), "there is none of circle, triplet"),
        ((), "pretrain_finetune_circle, pretrain_finetune_triplet, cotrain_circle, cotrain_triplet need --wildlife"),
        (("--wildlife", str(with_stars)), "holds sea stars"),
        ((*wild, "--change", "epochz=3"), "star_only_circle: no option --epochz; near: --epochs"),
        ((*wild, "--config", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        ((*wild, "--epochs", "0"), "epochs"),
        (("--data", str(tmp_path / "nowhere"), *wild), "no manifest.parquet here"),
    ):
        assert call(star_shards, tmp_path / "out", *words) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert said in line
    assert not (tmp_path / "out").exists()


@pytest.fixture
def with_stars(wild_shards, tmp_path):
    """A copy of the wildlife shards whose card says that there are stars in it."""
    data = shutil.copytree(wild_shards.root, tmp_path / "with_stars")
    (data / "dataset.json").write_text(json.dumps(wild_shards.card | {"stars": True}))
    return data


def test_the_time_before_a_kill_counts_as_far_as_it_was_kept(tmp_path):
    """Begun at 100, last checkpoint at 130, killed at 200, begun again at 1000, through at 1050: 80 seconds of work."""
    assert grid.training_seconds(tmp_path) == 0
    (tmp_path / grid.CLOCK).write_text(json.dumps({"before": 0, "begun": 100}))
    assert grid.training_seconds(tmp_path) == 0
    (tmp_path / "checkpoints").mkdir()
    last = tmp_path / "checkpoints" / "last.safetensors"
    last.touch()
    os.utime(last, (130, 130))
    assert grid.training_seconds(tmp_path) == 30
    (tmp_path / grid.CLOCK).write_text(json.dumps({"before": grid.training_seconds(tmp_path), "begun": 1000}))
    assert grid.training_seconds(tmp_path) == 30
    (tmp_path / "metrics.json").touch()
    os.utime(tmp_path / "metrics.json", (1050, 1050))
    assert grid.training_seconds(tmp_path) == 80


def test_scores_by_data_set():
    scores = {"map": 0.3, "cmc_1": 0.2, "map_A": 0.4, "cmc_1_A": 0.5, "map_B": 0.2, "cmc_1_B": 0.1}
    scores |= {"map_macro": 0.3, "cmc_1_macro": 0.3}
    found = grid.scores_by_dataset(scores, ["A", "B", "C"])  # C has too few to be scored
    assert found == {name: {"mAP": scores[f"map_{end}"], "rank1": scores[f"cmc_1_{end}"]}
                     for name, end in (("A", "A"), ("B", "B"), ("_average", "macro"))}  # fmt: skip
    few = scores | {"map_C": 0.9, "cmc_1_C": 0.9, "queries_C": 3.0, "queries_A": 4.0}
    assert grid.scores_by_dataset(few, ["A", "B", "C"]) == found
    alone = {"mAP": 0.3, "rank1": 0.2}
    assert grid.scores_by_dataset({"map": 0.3, "cmc_1": 0.2}, ["A"]) == {"A": alone, "_average": alone}
    assert grid.scores_by_dataset({}, ["A"]) == {}


@pytest.mark.slow
def test_one_that_fails_does_not_lose_the_others_and_an_unfinished_one_goes_on(star_shards, wild_shards, tmp_path, capsys):
    """Circle has a spoilt checkpoint; triplet was left after two of its steps, as by a kill."""
    out = tmp_path / "runs"
    words = ("--strategies", "star_only", "--epochs", "1", "--wildlife", str(wild_shards.root))
    (broken, left) = grid.plan_experiments(
        str(star_shards.root), out, None, ["star_only"], list(grid.LOSSES), shared=grid.common_options(None, TINY, 1)
    )
    (left,), (broken,) = left.trainings, broken.trainings
    assert launch.main(["star", *left.words, f"--out={left.out}", "--steps=2"]) == 0
    (left.out / "metrics.json").unlink()
    (broken.out / "checkpoints").mkdir(parents=True)
    (broken.out / "checkpoints" / "last.safetensors").write_bytes(b"no")
    assert (left.state(), broken.state()) == ("goes on", "goes on")
    capsys.readouterr()
    assert call(star_shards, out, *words) == 1
    said = capsys.readouterr()
    assert "star_only_circle FAILED" in said.err
    assert "not a readable checkpoint" in said.err
    assert "1 of 2 failed: star_only_circle" in said.err
    (result,) = json.loads((out / "results_final.json").read_text())["results"]
    assert result["name"] == "star_only_triplet"
    steps = [json.loads(line)["step"] for line in (left.out / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]
    assert steps == list(range(1, max(steps) + 1))  # nothing twice
    assert max(steps) > 2
    assert result["total_time_seconds"] > 0
    tested = np.array(wild_shards.column("dataset"))[wild_shards.rows("test")]
    large = {name for name in set(tested) if (tested == name).sum() >= 4}
    assert set(result["wildlife_per_dataset"]) == large | {"_average"}
    shutil.rmtree(broken.out)
    before = (left.out / "best.safetensors").stat().st_mtime_ns
    assert call(star_shards, out, *words) == 0
    assert (left.out / "best.safetensors").stat().st_mtime_ns == before
    assert len(json.loads((out / "results_final.json").read_text())["results"]) == 2
