"""The mouse task over shards: windows and weights as from every row, and batches of a data set that is never held whole."""

import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.pipelines.clip.tiles import ShardTiles, Tiles, tile
from tarpon.shards.fingerprint import hash_cells
from tarpon.shards.lazy_manifest import LazyManifest, open_lazily
from tarpon.shards.manifest import SPLITS, Manifest, open_manifest, write_manifest
from tarpon.shards.shard_table import write_shard_table
from tarpon.shards.sources.mouse.source import SCHEMA
from tarpon.shards.store import Store
from tarpon.train.config import Run
from tarpon.train.tasks.mouse import task as mouse
from tarpon.train.tasks.mouse.options import ModelOptions, MouseOptions, WindowOptions
from tarpon.train.tasks.mouse.sampling import class_counts, sampling
from tarpon.train.tasks.mouse.shard_sampling import shard_sampling

CLASSES = 8
OPTIONS = MouseOptions(
    model=ModelOptions(backbone=FrameBackbone(name="test_vit", pretrained=False, image_size=32), hidden=16),
    window=WindowOptions(train_frames=24, val_frames=160, rare_threshold_share=0.15),
)


def make_trials(rng: np.random.Generator) -> pa.Table:
    """120 trials of 1 to 90 frames in 9 shards; every third shard holds all splits, the others one."""
    count, shard = 120, np.sort(rng.integers(0, 9, 120))
    names = np.where(shard % 3 == 0, rng.choice(SPLITS, count), np.array(SPLITS)[np.minimum(shard % 3, 2) - 1])
    frames = rng.integers(1, 91, count)
    bouts = [rng.choice(CLASSES, p=[0.3, 0.02, 0.03, 0.1, 0.2, 0.05, 0.2, 0.1], size=length) for length in frames]
    actions = [np.where(rng.random(len(bout)) < 0.1, -1, bout).astype(np.int8) for bout in bouts]
    known = {
        "key": [f"k{row}" for row in range(count)],
        "shard": [f"shard-{number:05d}.tar" for number in shard],
        "group": [f"g{row // 4}" for row in range(count)],
        "split": names.tolist(),
        "codec": ["vp9"] * count,
        "frames": frames,
        "actions": actions,
        "histogram": [np.bincount(row[row >= 0], minlength=CLASSES).tolist() for row in actions],
    }
    schema = SCHEMA.arrow()
    columns = [known.get(name, [""] * count if kind == pa.string() else [64] * count) for name, kind in
               zip(schema.names, schema.types, strict=True)]  # fmt: skip
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], schema=schema)


@pytest.fixture(scope="module")
def trials(tmp_path_factory) -> tuple[Manifest, LazyManifest]:
    """Made-up trials of many lengths, opened in both ways; there are no tars."""
    root, table = tmp_path_factory.mktemp("trials"), make_trials(np.random.default_rng(5))
    card = {"kind": "mouse", "schema_version": 1, "classes": [f"c{n}" for n in range(CLASSES)], "split": {"groups": 30}}
    added = write_shard_table(Store(root), table, SCHEMA, rows_sum=hash_cells(table))
    write_manifest(root, table, card | added)
    return open_manifest(root), open_lazily(root)


@pytest.mark.parametrize("frames", [1, 7, 30, 200])
def test_windows_of_evaluation_are_the_same(trials, frames):
    whole, lazy = trials
    one, two = tile(whole, frames=frames), tile(lazy, frames=frames)
    assert isinstance(one, Tiles)
    assert isinstance(two, ShardTiles)
    assert len(one) == len(two)
    assert [(window.row, window.start) for window in one] == [(window.row, window.start) for window in two]
    for split in SPLITS:
        np.testing.assert_array_equal(two.of_split(split), one.of_split(split))


def test_counts_and_factors_are_the_same_and_every_weight_is_the_mean_factor_of_the_frames(trials):
    whole, lazy = trials
    counts = class_counts(lazy, OPTIONS, split="train")
    np.testing.assert_array_equal(counts, class_counts(whole, OPTIONS, split="train"))
    _, factors, table = sampling(whole, whole.rows("train"), OPTIONS, seed=1, counts=counts)
    order, others, told = shard_sampling(lazy, OPTIONS, seed=1, counts=counts)
    np.testing.assert_array_equal(others, factors)
    assert (factors > 1).any()
    rows = [order.rows_of(shard) for shard in range(len(lazy.tars))]
    np.testing.assert_array_equal(np.concatenate(rows), whole.rows("train"))
    for shard, own in enumerate(rows):
        labels = [whole.lists("actions", np.array([row]))[0] for row in own]
        merged = [np.array(OPTIONS.merge)[np.maximum(trial, 0)] for trial in labels]
        want = [np.where((trial >= 0) & (to >= 0), factors[to], 1.0).mean() for trial, to in zip(labels, merged, strict=True)]
        np.testing.assert_allclose(order.weights_of(shard), want)
        assert order.totals[shard] == pytest.approx(sum(want))
    lines = told.splitlines()
    assert [line.split()[:3] for line in lines[1:-1]] == [line.split()[:3] for line in table.splitlines()[1:]]
    assert lines[-1] == f"  drawn: estimated from {len(whole.rows('train'))} of {len(whole.rows('train'))} trials"


def test_without_the_boost_rows_weigh_the_same(trials):
    _, lazy = trials
    options = replace(OPTIONS, window=replace(OPTIONS.window, rare_boost=False))
    order, factors, _ = shard_sampling(lazy, options, seed=1, counts=class_counts(lazy, options, split="train"))
    assert factors is None
    assert order.totals is None
    np.testing.assert_array_equal(np.sort(np.concatenate(list(order.order(3)))), np.asarray(lazy.rows("train")))


def test_a_plan_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="plan='columns' must be one of rows, shards"):
        replace(OPTIONS, plan="columns")


@pytest.fixture(scope="module")
def by_shard(shards, tmp_path_factory) -> Path:
    """The trainer's tiny set with its shards.parquet."""
    root = tmp_path_factory.mktemp("by_shard") / "set"
    shutil.copytree(shards, root)
    manifest = open_manifest(root)
    added = write_shard_table(manifest.store, manifest.table, SCHEMA, rows_sum=manifest.fingerprint())
    write_manifest(root, manifest.table, manifest.card | added)
    return root


def test_evaluation_reads_the_same_batches_and_training_every_row_once(context, by_shard):
    run = Run(data=str(by_shard), micro_batch=1, global_batch=1)
    rows, shards = (mouse.build(run, replace(OPTIONS, plan=plan), context) for plan in ("rows", "shards"))
    assert shards.fingerprint == f"{rows.fingerprint}:shards"
    assert shards.splits == rows.splits == ("val", "test")
    assert shards.summary_lines[0] == rows.summary_lines[0]
    for split in ("val", "test"):
        kept = [{name: value.clone() for name, value in batch.items()} for batch in rows.data.split(split)]
        for one, two in zip(kept, shards.data.split(split), strict=True):
            assert all(torch.equal(one[name], two[name]) for name in one)
    steps = shards.data.steps_per_epoch
    assert steps == rows.data.steps_per_epoch == 5
    epoch = [(int(batch["row"]), batch["clip"].clone()) for batch in islice(shards.data.batches(0, 0), steps)]
    assert sorted(row for row, _ in epoch) == open_manifest(by_shard).rows("train").tolist()
    late = [(int(batch["row"]), batch["clip"].clone()) for batch in islice(shards.data.batches(0, 3), 2)]
    assert [row for row, _ in late] == [row for row, _ in epoch[3:]]
    assert all(torch.equal(one, two) for (_, one), (_, two) in zip(late, epoch[3:], strict=True))
    assert [shards.keys[row] for row, _ in late] == [rows.keys[row] for row, _ in late]
