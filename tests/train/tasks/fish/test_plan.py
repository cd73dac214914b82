"""Fish over stretches of its features: every row once, few stretches at a time, the same steps for any number of processes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tarpon.shards.features import CHUNK_ROWS, open_features
from tarpon.shards.sampling.plan import EpochPlan
from tarpon.shards.sampling.shard_plan import ShardPlan
from tarpon.train import launch
from tarpon.train.checkpoint import load_tensors
from tarpon.train.config import Run
from tarpon.train.tasks.fish import task as fish
from tarpon.train.tasks.fish.data import training_order
from tarpon.train.tasks.fish.options import FishModel, FishOptions

MODEL = FishModel(experts=2, hidden=16, tower=8, dropout=0.0)
ROWS = 20 * CHUNK_ROWS + 77


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    """Two rows in three of 21 stretches; the fourth has none."""
    places = np.arange(ROWS)
    return places[(places % 3 > 0) & (places // CHUNK_ROWS != 3)]


@pytest.fixture
def features(problems, tmp_path) -> Path:
    """A cache of 2 stretches and a few rows."""
    return problems.write_features(tmp_path / "features", rows=2 * CHUNK_ROWS + 100)


def test_every_row_comes_once_and_eight_stretches_at_a_time(train):
    plan = training_order(train, plan_kind="shards", seed=1)
    chunks = list(plan.order(0))
    np.testing.assert_array_equal(np.sort(np.concatenate(chunks)), train)
    assert [len(np.unique(chunk // CHUNK_ROWS)) for chunk in chunks] == [8, 8, 4]
    assert isinstance(training_order(train, plan_kind="rows", seed=1), EpochPlan)


def test_the_number_of_processes_and_skipping_change_no_step(train):
    plan = training_order(train, plan_kind="shards", seed=1)
    assert isinstance(plan, ShardPlan)
    whole = np.array([slots.rows for slots in plan.batches(3, micro=512, rank=0, world=1)])
    ranks = [[slots.rows for slots in plan.batches(3, micro=256, rank=rank, world=2)] for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate(ranks, 1), whole)
    later = np.array([slots.rows for slots in plan.batches(3, micro=512, rank=0, world=1, skip=20)])
    np.testing.assert_array_equal(later, whole[20:])


def test_evaluation_is_the_same_and_a_run_keeps_its_kind_of_plan(context, features):
    run = Run(data=str(features), micro_batch=64, global_batch=64)
    rows, shards = (fish.build(run, FishOptions(model=MODEL, plan=plan), context) for plan in ("rows", "shards"))
    assert shards.fingerprint == f"{rows.fingerprint}:shards"
    assert shards.data.steps_per_epoch == rows.data.steps_per_epoch
    for one, two in zip(rows.data.split("val"), shards.data.split("val"), strict=True):
        assert torch.equal(one["row"], two["row"])
    seen = torch.cat([batch["row"] for batch, _ in zip(shards.data.batches(0, 0), range(10), strict=False)]).tolist()
    assert len(set(seen)) == 640
    assert set(seen) <= set(open_features(features).split("train").tolist())
    with pytest.raises(ValueError, match="plan='columns' must be one of rows, shards"):
        replace(FishOptions(model=MODEL), plan="columns")


def test_going_on_ends_where_one_run_does(features, tmp_path):
    def train_to(steps: int, out: Path, *more: str) -> dict[str, torch.Tensor]:
        words = ["fish", f"--data={features}", f"--out={out}", f"--steps={steps}", "--plan=shards", "--engine.dtype=fp32"]
        words += ["--schedule.kind=constant", "--name=run"]
        words += ["--model.experts=2", "--model.hidden=16", "--model.tower=8", "--micro_batch=64", "--global_batch=64"]
        assert launch.main([*words, "--eval_every=100", *more]) == 0
        return load_tensors(out / "run" / "checkpoints" / "last.safetensors")[0]

    whole = train_to(7, tmp_path / "whole")
    train_to(3, tmp_path / "part")
    ends = train_to(7, tmp_path / "part", "--resume=true")
    assert all(torch.equal(ends[name], whole[name]) for name in whole)
