"""Cells over shards: the pages, weights and batches that a set held whole gives, of one that is not."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.pipelines.page.stored import make_levels, make_neighbours
from tarpon.shards.lazy_manifest import LazyManifest, open_lazily
from tarpon.shards.manifest import SPLITS, Manifest, open_manifest, write_manifest
from tarpon.shards.sampling.draws import PageAugment
from tarpon.shards.shard_table import write_shard_table
from tarpon.shards.sources.cells.schema import SCHEMA
from tarpon.tools import upgrade
from tarpon.train import launch
from tarpon.train.config import Run
from tarpon.train.tasks.cells import task as cells
from tarpon.train.tasks.cells.held_pages import HeldPages
from tarpon.train.tasks.cells.options import CellsModel, CellsOptions, Frames, Pages
from tarpon.train.tasks.cells.stored_pages import StoredPages, median_of_counted

MODEL = CellsModel(
    backbone=FrameBackbone(name="test_vit", pretrained=False, image_size=32), hidden_dim=16, tcn_hidden=16, window=3
)
PLAIN = PageAugment(flip_p=0, angle=0, brightness_p=0, contrast_p=0, noise_p=0)
OPTIONS = CellsOptions(model=MODEL, infection_onset_hour=1.0, augment=PLAIN)
FIRST_ONLY = Pages(infected_window_hours=None, uninfected_window_hours=None, uninfected_use_all=False)
LATE = Pages(infected_window_hours=(1.0, 2.5), uninfected_window_hours=(0.0, 3.0), uninfected_stride=2)
CHOICES = {
    "all": OPTIONS,
    "windows": replace(OPTIONS, frames=Frames(train=LATE, val=LATE)),
    "common times": replace(OPTIONS, frames=Frames(train=LATE, val=LATE, test=LATE, match_windows=True)),
    "first pages": replace(OPTIONS, frames=Frames(train=FIRST_ONLY), infection_onset_hour=2.25),
    "clamped": replace(OPTIONS, clamp_range=(0.5, 1.5)),
}


@pytest.fixture(scope="module")
def both(cells_shards) -> tuple[Manifest, LazyManifest]:
    """The tests' stacks, opened in both ways."""
    return open_manifest(cells_shards.root), open_lazily(cells_shards.root)


@pytest.fixture(scope="module")
def plated(cells_shards, tmp_path_factory) -> tuple[Manifest, LazyManifest]:
    """The same, but that a plate map tells the hour of infection of two wells in three."""
    root = tmp_path_factory.mktemp("plated") / "set"
    shutil.copytree(cells_shards.root, root)
    table = pq.read_table(root / "manifest.parquet")
    wells = table["well"].to_pylist()
    numbers = {well: number for number, well in enumerate(sorted(set(wells)))}
    hours = [(0.5 + numbers[well] if numbers[well] % 3 else None) for well in wells]
    place = table.column_names.index("onset_hour")
    write_manifest(root, table.set_column(place, "onset_hour", pa.array(hours, pa.float32())), cells_shards.card)
    upgrade.run(str(root))
    return open_manifest(root), open_lazily(root)


@pytest.mark.parametrize("name", CHOICES)
def test_pages_and_what_is_told_of_them_are_those_of_a_set_held_whole(both, plated, name):
    for whole, lazy in (both, plated):
        held, stored = HeldPages(whole, CHOICES[name]), StoredPages(lazy, CHOICES[name])
        for split in SPLITS:
            np.testing.assert_array_equal(np.asarray(stored.rows[split]), held.rows[split])
            assert len(stored.rows[split]) == len(held.rows[split])
            assert [*stored.rows[split]] == held.rows[split].tolist()
            onset = np.broadcast_to(stored.onset(split), len(whole))
            np.testing.assert_array_equal(onset[held.rows[split]], held.onset(split)[held.rows[split]])
        assert stored.medians == held.medians
        assert stored.describe_onset() == held.describe_onset()
        assert set(stored.infected_onsets.tolist()) == set(held.infected_onsets.tolist())
        rows = np.random.default_rng(0).permutation(len(whole))[:40]
        for one, two in zip(stored.labels.take(rows), (held.labels.label, held.labels.hours, held.labels.target), strict=True):
            np.testing.assert_array_equal(one, two[rows])
        names = stored.names.at(rows)
        for field, values in held.names.at(rows).items():
            np.testing.assert_array_equal(names[field], values)


def test_a_summary_line_says_how_many_pages_are_infected(both):
    held, stored = HeldPages(both[0], OPTIONS), StoredPages(both[1], OPTIONS)
    told = held.describe_splits().replace(" of 4 stacks", "")
    assert stored.describe_splits() == told == "; ".join(f"{split} 32 pages, 50% infected" for split in SPLITS)


def test_the_median_of_counted_values_is_the_median():
    rng = np.random.default_rng(0)
    for size in range(1, 40):
        values, counts = rng.integers(0, 9, size).astype(np.float32) / 3, rng.integers(1, 5, size)
        assert median_of_counted(values, counts) == float(np.median(np.repeat(values, counts)))


def test_balanced_classes_by_hand(both):
    """2 infected pages and 16 uninfected: 18 slots, 9 a class. An infected page comes 4 or 5 times, an uninfected once."""
    window = Pages(infected_window_hours=(1.0, 1.0))
    stored = StoredPages(both[1], replace(OPTIONS, frames=Frames(train=window), balance=True))
    plan, labels = stored.order(seed=3), np.asarray(both[0].column("label"))
    assert plan.counts.sum() == 18
    shards = np.flatnonzero(plan.counts)
    np.testing.assert_allclose([plan.weights_of(shard).sum() for shard in shards], plan.totals[shards])
    for epoch in range(4):
        rows, times = np.unique(np.concatenate([*plan.order(epoch)]), return_counts=True)
        assert times.sum() == 18
        assert set(times[labels[rows] == 1].tolist()) <= {4, 5}
        assert set(times[labels[rows] == 0].tolist()) == {1}
        assert times[labels[rows] == 1].sum() in (8, 9, 10)


@pytest.mark.parametrize("balance", [False, True])
def test_the_number_of_processes_does_not_change_a_step(both, balance):
    options = replace(OPTIONS, frames=Frames(train=LATE), balance=balance)
    one = [slots.rows for slots in StoredPages(both[1], options).order(1).batches(2, micro=4, rank=0, world=1)]
    ranks = [
        [slots.rows for slots in StoredPages(both[1], options).order(1).batches(2, micro=2, rank=rank, world=2)]
        for rank in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate(ranks, 1), one)


@pytest.mark.parametrize("contrast", ["first", "frame", "fixed"])
def test_levels_and_neighbours_are_those_of_a_set_held_whole(both, channel_shards, contrast):
    for whole, lazy in (both, (channel_shards, open_lazily(channel_shards.root))):
        for one, two in zip(make_levels(whole, contrast), make_levels(lazy, contrast), strict=True):
            assert (one.ndim, one.shape) == (two.ndim, two.shape)
            np.testing.assert_array_equal(np.stack([two[row] for row in range(len(whole))]), one)
        rows = np.array([0, 5, len(whole) - 1, -1, 7])
        for window in (1, 3, 5):
            for one, two in zip(
                make_neighbours(whole, window=window)(rows), make_neighbours(lazy, window=window)(rows), strict=True
            ):
                np.testing.assert_array_equal(one, two)


def read_all(batches) -> list[dict[str, torch.Tensor]]:
    return [{name: value.clone() for name, value in batch.items()} for batch in batches]


def test_evaluation_reads_the_same_batches_and_training_every_page_once(both, context):
    run = Run(data=both[0].root, micro_batch=6, global_batch=6)  # 32 pages: the last batch is padded
    rows, shards = (cells.build(run, replace(OPTIONS, plan=plan), context) for plan in ("rows", "shards"))
    assert shards.fingerprint == f"{rows.fingerprint}:shards"
    assert shards.splits == rows.splits == ("val", "test")
    for one, two in zip(read_all(rows.data.split("val")), read_all(shards.data.split("val")), strict=True):
        assert set(one) == set(two)
        assert all(torch.equal(one[name], two[name]) for name in one)
    steps = shards.data.steps_per_epoch
    assert steps == rows.data.steps_per_epoch == 5
    epoch = read_all(islice(shards.data.batches(0, 0), steps))
    seen = torch.cat([batch["row"] for batch in epoch]).tolist()
    assert len(set(seen)) == 30
    assert set(seen) <= set(both[0].rows("train").tolist())
    labels = np.asarray(both[0].column("label"))
    assert torch.cat([batch["label"] for batch in epoch]).tolist() == labels[seen].tolist()
    for one, two in zip(read_all(islice(shards.data.batches(0, 3), 2)), epoch[3:], strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert [shards.keys[row] for row in seen] == [rows.keys[row] for row in seen]


SMALL = (
    "--model.backbone.name=test_vit", "--model.backbone.pretrained=false", "--model.backbone.image_size=32",
    "--model.hidden_dim=16", "--micro_batch=4", "--global_batch=8", "--log_every=1", "--engine.dtype=fp32",
    "--loader.threads=1", "--plan=shards", "--balance=true", "--save_every=2", "--eval_every=6",
)  # fmt: skip


@pytest.fixture
def train(cells_shards, tmp_path, losses) -> Callable[..., dict[int, float]]:
    """(run folder's name, options..., data=) -> losses by step."""

    def go(name: str, *options: str, data: str = cells_shards.root) -> dict[int, float]:
        out = tmp_path / name
        assert launch.main(["cells", f"--data={data}", f"--out={out}", *SMALL, *options]) == 0
        return losses(out)

    return go


def test_a_training_by_shards_goes_on_with_the_batch_that_it_would_have_had(train):
    """6 steps, 4 an epoch; stopped after 2 and gone on with: the same losses."""
    schedule = ("--schedule.kind=constant",)
    whole = train("whole", "--steps=6", *schedule)
    train("part", "--steps=2", *schedule)
    assert train("part", "--steps=6", "--resume=true", *schedule) == whole
    assert len(whole) == 6


@pytest.fixture
def old(cells_shards, tmp_path) -> Callable[[str], Path]:
    """(how) -> the set without shards.parquet (bare), or with one that knows nothing of pages (plain)."""

    def make(how: str) -> Path:
        root = tmp_path / how
        shutil.copytree(cells_shards.root, root)
        if how == "bare":
            (root / "shards.parquet").unlink()
            return root
        schema = replace(SCHEMA, summary=None)
        manifest = open_manifest(root)
        added = write_shard_table(manifest.store, manifest.table, schema, rows_sum=manifest.fingerprint())
        write_manifest(root, manifest.table, manifest.card | added)
        return root

    return make


@pytest.mark.parametrize("how", ["bare", "plain"])
def test_an_old_set_trains_by_rows_and_is_refused_by_shards_until_it_is_upgraded(how, old, context, capfd, tmp_path):
    root = old(how)
    run = Run(data=str(root), micro_batch=4, global_batch=8)
    assert cells.build(run, OPTIONS, context).data.steps_per_epoch == 4
    capfd.readouterr()
    assert launch.main(["cells", f"--data={root}", f"--out={tmp_path / 'refused'}", *SMALL]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("train/launch.py: ")]
    assert f"`tarpon upgrade {root}`" in line
    assert upgrade.run(str(root)) == 0
    assert cells.build(run, replace(OPTIONS, plan="shards"), context).data.steps_per_epoch == 4


def test_a_class_without_pages_and_a_fold_are_refused(both):
    late = replace(OPTIONS, frames=Frames(test=Pages(infected_window_hours=(40.0, 48.0))))
    with pytest.raises(ValueError, match=r"no infected pages in test .* widen its windows"):
        StoredPages(both[1], late)
    with pytest.raises(ValueError, match="fold=1 makes splits of its own, plan=shards reads the stored ones; set plan rows"):
        replace(OPTIONS, fold=1, plan="shards")
    with pytest.raises(ValueError, match="plan='columns' must be one of rows, shards"):
        replace(OPTIONS, plan="columns")


def test_the_summary_counts_every_page_of_a_shard(both):
    whole, lazy = both
    for shard, name in enumerate(lazy.tars):
        own = whole.table.filter(pc.equal(whole.table["shard"], name))
        for split in SPLITS:
            pages = lazy.summary(split, "pages")[shard].as_py() or []
            assert sum(pages) == pc.sum(pc.equal(own["split"], split)).as_py()
            assert len(pages) == len(lazy.summary(split, "hours")[shard].as_py() or [])
