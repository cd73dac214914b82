"""The cells task: which pages, their neighbours in time, their targets, and what is drawn."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import tifffile
import torch

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.shards.manifest import Manifest
from tarpon.shards.sampling.draws import PageAugment
from tarpon.shards.sources.cells.source import CellsSource
from tarpon.train.config import Run
from tarpon.train.tasks.cells import rows as page_rows
from tarpon.train.tasks.cells import task as cells
from tarpon.train.tasks.cells.options import CellsModel, CellsOptions, Frames, Pages

PLAIN = PageAugment(flip_p=0, angle=0, brightness_p=0, contrast_p=0, noise_p=0)
MODEL = CellsModel(backbone=FrameBackbone(name="test_vit", pretrained=False, image_size=32), hidden_dim=16, tcn_hidden=16)
OPTIONS = CellsOptions(model=MODEL, infection_onset_hour=1.0, contrast="first")


@pytest.fixture
def problem(cells_shards, context) -> Callable:
    """(options, data=, run's options...) -> the built problem."""

    def make(options: CellsOptions = OPTIONS, *, data: str = cells_shards.root, **given):
        run = Run(**{"data": data, "micro_batch": 4, "global_batch": 8, "seed": 42} | given)
        return cells.build(run, options, context)

    return make


def pages_of(manifest: Manifest, rows: np.ndarray, label: int) -> list[int]:
    """Page numbers that the first stack of a class has among these rows."""
    own = rows[np.asarray(manifest.column("label"))[rows] == label]
    stacks = np.array(manifest.column("stack"))[own]
    return np.asarray(manifest.column("page"))[own][stacks == stacks[0]].tolist()


def test_windows_and_strides_pick_pages_by_the_clock(cells_shards):
    """Two pages an hour, eight pages; both ends of a window are in it."""
    splits = np.array(cells_shards.column("split"))

    def picked(match: bool = False, **given) -> tuple[list[int], list[int]]:
        frames = Frames(train=Pages(**given), match_windows=match)
        rows = page_rows.select_split(cells_shards, splits, "train", replace(OPTIONS, frames=frames))
        assert (splits[rows] == "train").all()
        return pages_of(cells_shards, rows, 1), pages_of(cells_shards, rows, 0)

    assert picked() == (list(range(8)), list(range(8)))
    windows = {"infected_window_hours": (1.0, 2.5), "uninfected_window_hours": (0.0, 3.0)}
    assert picked(**windows) == ([2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6])
    assert picked(**windows, uninfected_stride=2) == ([2, 3, 4, 5], [0, 2, 4, 6])
    assert picked(match=True, **windows, uninfected_stride=2) == ([2, 4], [2, 4])
    assert picked(infected_window_hours=None, uninfected_window_hours=None, uninfected_use_all=False) == (list(range(8)), [0])


def test_a_window_says_nothing_of_the_other_splits(problem, cells_shards):
    made = problem(replace(OPTIONS, frames=Frames(train=Pages(infected_window_hours=(1.0, 1.0)))))
    found = torch.cat([batch["row"] for batch in made.data.split("test")])
    assert found[found >= 0].tolist() == cells_shards.rows("test").tolist()
    assert made.data.steps_per_epoch == (2 * 1 + 2 * 8) // 8


def test_a_split_without_a_class_is_refused(problem):
    with pytest.raises(ValueError, match=r"no infected pages in train .* widen its windows"):
        problem(replace(OPTIONS, frames=Frames(train=Pages(infected_window_hours=(40.0, 48.0)))))


def test_a_test_window_beyond_the_stacks_is_refused_and_not_a_run_without_test(problem):
    late = Frames(test=Pages(infected_window_hours=(40.0, 48.0)))
    with pytest.raises(ValueError, match="no infected pages in test"):
        problem(replace(OPTIONS, frames=late))


def test_matched_windows_keep_the_hours_that_both_classes_were_filmed_at(tmp_path, pack_cells):
    """Infected stacks begin at page 2 by their names and uninfected ones end after 5: pages 2 to 4 are common."""
    rng = np.random.default_rng(0)
    for folder, well, first, last in (("infected", "b", 2, 6), ("uninfected", "c", 0, 4)):
        (tmp_path / folder).mkdir()
        for number in range(3):
            pages = rng.integers(0, 999, (last - first + 1, 40, 40), dtype=np.uint16)
            tifffile.imwrite(tmp_path / folder / f"x_{well}{number}_p1_t{first}-{last}.tif", pages, metadata=None)
    manifest, _ = pack_cells(tmp_path, tmp_path / "out", source=CellsSource(group="well"))
    assert any("Train with match_windows" in line for line in manifest.card["warnings"])
    splits, hours = np.array(manifest.column("split")), np.asarray(manifest.column("hours"))
    labels = np.asarray(manifest.column("label"))
    for match, infected, uninfected in ((False, (2, 3, 4, 5, 6), (0, 1, 2, 3, 4)), (True, (2, 3, 4), (2, 3, 4))):
        rows = page_rows.select_split(manifest, splits, "train", replace(OPTIONS, frames=Frames(match_windows=match)))
        assert set(2 * hours[rows[labels[rows] == 1]]) == set(infected)
        assert set(2 * hours[rows[labels[rows] == 0]]) == set(uninfected)


def test_infected_pages_from_before_the_onset_are_told(cells_shards):
    rows, labels = cells_shards.rows("train"), np.asarray(cells_shards.column("label"), np.int64)

    def told(onset: float) -> list[str]:
        return list(page_rows.describe_onset(cells_shards, rows, labels, onset=np.full(len(cells_shards), onset)))

    assert told(0.0) == []
    (line,) = told(1.0)  # pages 0 and 1 of 8
    assert line.startswith("onset     25% of the infected training pages")
    (line,) = told(40.0)
    assert line.startswith("warning   every infected training page is from before the onset at 40 h")


def test_each_well_s_own_onset_says_which_training_pages_are_from_before_it(cells_shards):
    """One of the two infected stacks at hour 0, before which there is no page; the other at hour 2: pages 0 to 3 of 8."""
    rows, labels = cells_shards.rows("train"), np.asarray(cells_shards.column("label"), np.int64)
    stacks = np.array(cells_shards.column("stack"))
    late = stacks == stacks[rows[labels[rows] == 1][0]]
    (line,) = page_rows.describe_onset(cells_shards, rows, labels, onset=np.where(late, 2.0, 0.0))
    assert line.startswith("onset     25% of the infected training pages")
    (line,) = page_rows.describe_onset(cells_shards, rows, labels, onset=np.where(late, 50.0, 40.0))
    assert "from before each well's own onset (40 to 50 h)" in line


def test_every_fold_tests_other_wells_and_learns_from_none_of_them(cells_shards):
    wells, labels = np.array(cells_shards.column("well")), np.asarray(cells_shards.column("label"))
    tested = []
    for k in range(3):
        splits = page_rows.assign_splits(cells_shards, replace(OPTIONS, fold=k))
        held = {name: set(wells[splits == name]) for name in ("train", "val", "test")}
        assert sum(map(len, held.values())) == len(set.union(*held.values())) == 6
        assert all(set(labels[splits == name]) == {0, 1} for name in held)
        tested += held["test"]
    assert sorted(tested) == sorted(set(wells))
    with pytest.raises(ValueError, match="fold=3 must be 0 to 2"):
        page_rows.assign_splits(cells_shards, replace(OPTIONS, fold=3))


def test_a_fold_is_another_run(problem):
    assert problem().fingerprint != problem(replace(OPTIONS, fold=0)).fingerprint


@pytest.mark.parametrize(("balance", "share"), [(False, 0.2), (True, 0.5)])
def test_balance_makes_the_classes_equally_frequent(problem, balance, share):
    """4 infected pages against 16: 2 stacks of 2 pages, 2 of 8."""
    frames = Frames(train=Pages(infected_window_hours=(1.0, 1.5)))
    made = problem(replace(OPTIONS, balance=balance, frames=frames), micro_batch=10, global_batch=10)
    assert made.data.steps_per_epoch == 2
    labels = torch.cat([batch["label"] for batch in islice(made.data.batches(0, 0), 20)])  # ten epochs
    assert labels.float().mean().item() == pytest.approx(share, abs=0.05 * balance + 1e-6)


def test_targets_are_hours_since_onset_or_start(problem, cells_shards):
    made = problem(replace(OPTIONS, clamp_range=(0.0, 2.0)))
    for batch in made.data.split("val"):
        for row, label, hours, target in zip(
            *(batch[name].tolist() for name in ("row", "label", "hours", "target")), strict=True
        ):
            page = cells_shards.value(row, "page")
            assert (label, hours) == (cells_shards.value(row, "label"), page / 2)
            assert target == min(max(page / 2 - 1.0, 0) if label else page / 2, 2.0)


def test_a_window_holds_the_neighbouring_pages_of_the_same_stack(problem, cells_shards):
    plain = replace(OPTIONS, contrast="fixed")
    alone = {}
    for split in ("train", "val", "test"):
        for batch in problem(plain).data.split(split):
            alone |= {row: clip[0].clone() for row, clip in zip(batch["row"].tolist(), batch["clip"], strict=True)}
    assert len(alone) == len(cells_shards)
    place = {(cells_shards.value(row, "stack"), cells_shards.value(row, "page")): row for row in alone}
    made = problem(replace(plain, model=replace(MODEL, window=3)))
    met = 0
    for batch in made.data.split("val"):
        assert batch["clip"].shape == (4, 3, 3, 32, 32)
        for row, clip, valid in zip(batch["row"].tolist(), batch["clip"], batch["valid"].tolist(), strict=True):
            stack, page = cells_shards.value(row, "stack"), cells_shards.value(row, "page")
            assert valid == [page > 0, True, page < 7]
            for step in (-1, 0, 1):
                if valid[1 + step]:
                    torch.testing.assert_close(clip[1 + step], alone[place[stack, page + step]], atol=0, rtol=0)
            met += 1
    assert met == 32


def test_a_page_beyond_the_stack_changes_no_answer(problem):
    made = problem(replace(OPTIONS, model=replace(MODEL, window=3)))
    batch = next(batch for batch in made.data.split("val") if not batch["valid"].all())
    made.model.eval()
    noisy = torch.where(batch["valid"][:, :, None, None, None], batch["clip"], torch.full_like(batch["clip"], 9.0))
    with torch.no_grad():
        one, other = (made.model(clip=clip, valid=batch["valid"]) for clip in (batch["clip"], noisy))
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_batches_are_a_function_of_seed_epoch_and_step(problem):
    """Flips, turns, levels and noise among them; skipping is the same as having read."""

    def read(epoch: int, skip: int, count: int, **given) -> list[dict]:
        stream = islice(problem(**given).data.batches(epoch, skip), count)
        return [{name: value.clone() for name, value in batch.items()} for batch in stream]

    def same(one: dict, other: dict) -> bool:
        return all(torch.equal(one[name], other[name]) for name in one)

    whole = read(0, 0, 12)  # eight micro-batches of four an epoch
    assert all(same(a, b) for a, b in zip(whole, read(0, 0, 12), strict=True))
    assert all(same(a, b) for a, b in zip(whole[3:], read(0, 3, 9), strict=True))
    assert all(same(a, b) for a, b in zip(whole[8:], read(1, 0, 4), strict=True))
    assert sorted(torch.cat([batch["row"] for batch in whole[:8]]).tolist()) == sorted(
        set(torch.cat([b["row"] for b in whole[:8]]).tolist())
    )
    assert not same(whole[0], whole[8])
    assert not same(whole[0], read(0, 0, 1, seed=43)[0])


def test_an_augmented_page_is_not_the_stored_one(problem):
    stored = next(problem(replace(OPTIONS, augment=PLAIN)).data.batches(0, 0))
    varied = next(problem().data.batches(0, 0))
    assert stored["row"].tolist() == varied["row"].tolist()
    assert (stored["clip"] - varied["clip"]).abs().flatten(1).amax(1).min() > 0.1
