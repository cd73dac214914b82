"""Star over shards: the animals, roles and batches of sets that are held whole, of ones that are not."""

import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tarpon.shards.manifest import open_manifest, write_manifest
from tarpon.tools import upgrade
from tarpon.train import launch
from tarpon.train.checkpoint import load_tensors
from tarpon.train.config import Run
from tarpon.train.tasks.star import task as star
from tarpon.train.tasks.star.data import Photos
from tarpon.train.tasks.star.metrics.embeddings import GALLERY, NEW, QUERY, WORDS
from tarpon.train.tasks.star.stored_photos import StoredPhotos


@pytest.fixture(scope="module")
def by_hand(star_shards, tmp_path_factory) -> str:
    """Of 9 rows in 10 the stored ones; of every tenth the split, flank and whether it is novel or a distractor are others."""
    root = tmp_path_factory.mktemp("by_hand") / "set"
    shutil.copytree(star_shards.root, root)
    table = pq.read_table(root / "manifest.parquet")
    row = np.arange(len(table))
    changed = {
        "split": np.where(row % 10 == 3, np.array(["train", "val", "test"])[row // 10 % 3], np.array(table["split"])),
        "novel": (row % 10 == 3) & (row // 30 % 2 == 1),
        "distractor": np.asarray(table["distractor"]) | (row % 10 == 7),
        "orientation": np.array(["left", "top", "Right"])[row % 3],
    }
    for name, values in changed.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values.tolist(), table.schema.field(name).type))
    write_manifest(root, table, star_shards.card)
    upgrade.run(str(root))
    return str(root)


@pytest.fixture
def both(by_hand, wild_shards, small_options):
    """(options that differ...) -> the photographs held whole and by shards."""

    def make(**options) -> tuple[Photos, StoredPhotos]:
        chosen = replace(small_options, **options)
        return Photos(Run(data=by_hand), chosen), StoredPhotos(Run(data=by_hand), replace(chosen, plan="shards"))

    return make


@pytest.mark.parametrize("strategy", ["star_only", "cotrain"])
def test_all_that_is_told_is_told_of_sets_held_whole(both, wild_shards, strategy):
    more = {"wildlife": wild_shards.root} if strategy == "cotrain" else {}
    held, stored = both(strategy=strategy, **more)
    assert (stored.within_dataset, stored.protocol) == (held.within_dataset, held.protocol)
    for split in ("val", "test"):
        np.testing.assert_array_equal(stored.roles(split), held.roles(split))
        for role in (QUERY, GALLERY, NEW):
            assert stored.count_role(split, role) == held.count_role(split, role)
    assert held.count_role("test", NEW) > 0
    for distractors in (True, False):
        assert stored.list_identities(distractors=distractors) == held.list_identities(distractors=distractors)
        assert stored.count_training(distractors=distractors) == held.count_training(distractors=distractors)
    rows = np.random.default_rng(0).permutation(len(held.joined))
    np.testing.assert_array_equal(stored.find_flanks(rows), held.find_flanks(rows))
    np.testing.assert_array_equal(np.asarray(stored.pool), held.pool)
    assert [stored.keys[row] for row in rows] == held.keys[rows].tolist()
    for word in WORDS:
        np.testing.assert_array_equal(getattr(stored.names(), word), getattr(held.names(), word))


@pytest.mark.parametrize("strategy", ["star_only", "cotrain"])
@pytest.mark.parametrize("distractors", [True, False])
def test_an_epoch_has_every_photograph_that_trains_in_groups_of_an_animal(
    both, wild_shards, small_options, strategy, distractors
):
    more = {"wildlife": wild_shards.root} if strategy == "cotrain" else {}
    chosen = {"strategy": strategy, "include_distractors": distractors, **more}
    held, stored = both(**chosen)
    options, names = replace(small_options, plan="shards", **chosen), held.list_identities(distractors=distractors)
    plan = stored.order(options, identities=names, seed=3)
    batches = [slots.rows for slots in plan.batches(0, micro=8, rank=0, world=1)]
    assert len(batches) == plan.steps(8)
    due = np.concatenate(held.training(distractors=distractors))
    assert set(np.concatenate(batches).tolist()) == set(due.tolist())
    for rows in batches:
        assert len(set(rows.tolist())) == 8
        animals = held.identity[rows]
        assert (np.diff(np.unique(animals, return_inverse=True)[1]) != 0).sum() == len(set(animals.tolist())) - 1
    ranks = [[slots.rows for slots in plan.batches(0, micro=4, rank=rank, world=2, skip=2)] for rank in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(ranks, 1), batches[2:])


def read_all(batches) -> list[dict[str, torch.Tensor]]:
    return [{name: value.clone() for name, value in batch.items()} for batch in batches]


def test_evaluation_and_training_read_what_they_should(by_hand, star_problem):
    rows, shards = (star_problem(data=by_hand, plan=plan) for plan in ("rows", "shards"))
    assert shards.fingerprint == f"{rows.fingerprint}:shards"
    assert shards.splits == rows.splits == ("val", "test")
    assert shards.summary_lines == rows.summary_lines
    for one, two in zip(read_all(rows.data.split("test")), read_all(shards.data.split("test")), strict=True):
        assert set(one) == set(two)
        assert all(torch.equal(one[name], two[name]) for name in one)
    epoch = read_all(islice(shards.data.batches(0, 0), 5))
    for batch, late in zip(epoch[2:], read_all(islice(shards.data.batches(0, 2), 3)), strict=True):
        assert all(torch.equal(batch[name], late[name]) for name in batch)
    names = Photos(Run(data=by_hand), star.StarOptions()).identity
    for batch in epoch:
        known = [shards.encoders["identities"][number] for number in batch["identity"].tolist()]
        assert known == names[batch["row"].numpy()].tolist()


def test_going_on_ends_where_one_run_does_and_an_old_set_is_refused(star_run, star_shards, small, refused, tmp_path):
    options = ("--plan=shards", "--schedule.kind=constant", "--eval_every=100")
    whole, part = star_run("whole", *options, "--steps=5"), star_run("part", *options, "--steps=2")
    again = ["star", f"--data={star_shards.root}", f"--out={part}", *small, *options, "--steps=5", "--resume=true"]
    assert launch.main(again) == 0
    ends = [load_tensors(folder / "checkpoints" / "last.safetensors")[0] for folder in (whole, part)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    old = tmp_path / "old"
    shutil.copytree(star_shards.root, old)
    (old / "shards.parquet").unlink()
    assert f"`tarpon upgrade {old}`" in refused("--plan=shards", data=str(old))


def test_a_plan_that_there_is_not_is_refused(small_options):
    with pytest.raises(ValueError, match="plan='columns' must be one of rows, shards"):
        replace(small_options, plan="columns")


def test_upgrading_writes_what_packing_writes(star_shards, tmp_path):
    old = Path(tmp_path / "old")
    shutil.copytree(star_shards.root, old)
    for path in old.glob("shard*.parquet"):
        path.unlink()
    assert upgrade.run(str(old)) == 0
    for path in Path(star_shards.root).glob("shard*.parquet"):
        assert (old / path.name).read_bytes() == path.read_bytes()
    assert open_manifest(old).fingerprint() == open_manifest(star_shards.root).fingerprint()
