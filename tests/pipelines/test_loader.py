"""The loader as an iterator: the same every time, in order, runnable again, honest about bad samples."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tarpon.pipelines.clip.feed import ClipRequest, TrainWindows, merge_classes
from tarpon.pipelines.clip.tiles import Tiles
from tarpon.pipelines.fallback_rows import Filler, left_out
from tarpon.shards.manifest import Manifest, open_manifest, write_manifest
from tarpon.shards.sampling.draws import ClipAugment, draw_clip
from tarpon.shards.sampling.plan import EpochPlan, weight_rare_classes, weight_windows

MERGE = (0, 1, 2, 1, 3, 1, 4, 5)


def planned(manifest: Manifest, *, epoch: int = 0, skip: int = 0) -> list[list[ClipRequest]]:
    rows = np.arange(len(manifest))
    windows = TrainWindows(manifest=manifest, augment=ClipAugment(flip_p=0.5), frames=16, points=6, seed=5, merge=MERGE)
    plan = EpochPlan(rows=rows, shards=np.unique(manifest.column("shard"), return_inverse=True)[1], seed=5)
    return [windows(slots) for slots in plan.batches(epoch, micro=2, rank=0, world=1, skip=skip)]


def equal(one: list[dict], two: list[dict]) -> bool:
    return len(one) == len(two) and all(torch.equal(a[name], b[name]) for a, b in zip(one, two, strict=True) for name in a)


def test_two_loaders_and_two_runs_give_the_same_batches_whatever_the_prefetch(mouse_shards, make_loader):
    work = planned(mouse_shards)
    first = make_loader(mouse_shards, batch=2, noise_sd=0.02, prefetch=1)
    one = list(first.run(work))
    assert [batch["row"].tolist() for batch in one] == [[window.row for window in windows] for windows in work]
    assert equal(one, list(first.run(work)))
    assert equal(one, list(make_loader(mouse_shards, batch=2, noise_sd=0.02, prefetch=3).run(work)))
    assert equal(one[2:], list(first.run(planned(mouse_shards, skip=2))))  # resume is a slice
    assert first.batches == 2 * len(one) + len(one) - 2
    assert first.wait_s > 0


@pytest.mark.parametrize("decode_batches", [2, 3, 4, 7])
def test_batches_decoded_as_one_are_the_same_batches(mouse_shards, make_loader, decode_batches):
    """Noise, drops and flips included, whether or not the number of batches is a multiple; resume is still a slice."""
    work = planned(mouse_shards) + planned(mouse_shards, epoch=1)
    assert len(work) % 4
    plain = list(make_loader(mouse_shards, batch=2, noise_sd=0.02).run(work))
    loader = make_loader(mouse_shards, batch=2, noise_sd=0.02, decode_batches=decode_batches)
    assert equal(plain, list(loader.run(work)))
    assert loader.batches == len(work)
    assert equal(plain[3:], list(loader.run(work[3:])))
    left = loader.run(work)
    assert equal(plain[:1], [next(left)])
    left.close()
    assert equal(plain[1:], list(loader.run(work[1:])))


def test_a_group_of_uneven_batches_comes_apart_as_it_was_joined(mouse_shards, make_loader):
    work = [
        [ClipRequest(row=0, start=5)],
        [ClipRequest(row=1, start=9), ClipRequest(row=-1, start=0)],
        [ClipRequest(row=2, start=3)],
    ]
    plain = list(make_loader(mouse_shards, batch=2).run(work))
    assert [len(batch["row"]) for batch in plain] == [1, 2, 1]
    assert equal(plain, list(make_loader(mouse_shards, batch=2, decode_batches=2).run(work)))


def test_batches_stay_as_they_were_delivered(mouse_shards, make_loader):
    """Tensors are views of DALI's memory: later batches must not write into them."""
    kept = [
        (batch["clip"], batch["clip"].clone())
        for batch in make_loader(mouse_shards).run([[ClipRequest(row=0, start=s)] for s in range(0, 200, 20)])
    ]
    assert all(torch.equal(view, copy) for view, copy in kept)
    assert len({float(copy.sum()) for _, copy in kept}) == len(kept)


@pytest.mark.parametrize("prefetch", [1, 2, 4])
def test_a_run_left_early_leaves_nothing_behind(mouse_shards, make_loader, prefetch):
    loader = make_loader(mouse_shards, prefetch=prefetch)
    next(loader.run([[ClipRequest(row=0, start=start)] for start in range(10)]))
    later = [batch["start"].item() for batch in loader.run([[ClipRequest(row=1, start=start)] for start in (50, 60, 70)])]
    assert later == [50, 60, 70]
    assert [batch["row"].item() for batch in loader.run([[ClipRequest(row=2, start=0)]])] == [2]


def test_an_empty_run_is_empty(mouse_shards, make_loader):
    loader = make_loader(mouse_shards)
    assert list(loader.run([])) == []
    assert len(list(loader.run([[ClipRequest(row=0, start=0)]]))) == 1


def test_a_run_left_early_and_never_asked_again_leaves_nothing_behind(mouse_shards, make_loader):
    """As the training loop leaves an epoch: its generator is dropped, not closed."""
    loader = make_loader(mouse_shards, decode_batches=3)
    next(loader.run([[ClipRequest(row=0, start=start)] for start in range(10)]))
    assert [batch["start"].item() for batch in loader.run([[ClipRequest(row=1, start=start)] for start in (50, 60)])] == [
        50,
        60,
    ]


def test_a_loader_tells_how_long_its_feed_worked(mouse_shards, make_loader):
    loader = make_loader(mouse_shards)
    assert loader.feed.work_s == 0
    list(loader.run([[ClipRequest(row=0, start=0)]]))
    assert loader.feed.work_s > 0


@pytest.fixture
def damaged(mouse_shards, tmp_path) -> Manifest:
    """The shards with a byte of row 2's clip changed."""
    shutil.copytree(mouse_shards.root, tmp_path / "damaged")
    path = tmp_path / "damaged" / mouse_shards.value(2, "shard")
    content = bytearray(path.read_bytes())
    content[mouse_shards.value(2, "clip_offset") + 1000] ^= 255
    path.write_bytes(content)
    return open_manifest(tmp_path / "damaged")


def test_within_the_budget_the_next_row_stands_in(damaged, make_loader):
    loader = make_loader(damaged, limit=1)
    rows = [batch["row"].item() for batch in loader.run([[ClipRequest(row=row, start=7)] for row in (1, 2, 2, 4)])]
    assert rows == [1, 3, 3, 4]
    (fault,) = loader.feed.fallback.budget.faults
    assert fault.offset == damaged.value(2, "clip_offset")
    assert fault.file == f"{damaged.value(2, 'shard')}:{damaged.value(2, 'key')}"


def test_past_the_budget_the_run_stops_naming_the_sample(damaged, make_loader):
    with pytest.raises(ValueError, match=r"1 bad samples, 0 allowed .*" + damaged.value(2, "key")):
        list(make_loader(damaged).run([[ClipRequest(row=row, start=7)] for row in range(4)]))


def test_padding_stays_invalid_when_the_row_behind_it_is_bad(mouse_shards, make_loader, tmp_path):
    shutil.copytree(mouse_shards.root, tmp_path / "set")
    path = tmp_path / "set" / mouse_shards.value(0, "shard")
    content = bytearray(path.read_bytes())
    content[mouse_shards.value(0, "clip_offset") + 1000] ^= 255
    path.write_bytes(content)
    (batch,) = make_loader(open_manifest(tmp_path / "set"), limit=1).run([[ClipRequest(row=-1, start=0)]])
    assert batch["row"].item() == -1
    assert not batch["valid"].any()


def undecodable(manifest: Manifest, folder: Path, rows: tuple[int, ...], *, how=bytes) -> Manifest:
    """A copy in which clips do not decode although their checksums are right."""
    shutil.copytree(manifest.root, folder)
    table, digests = manifest.table, manifest.column("clip_sha256").tolist()
    for row in rows:
        path = folder / manifest.value(row, "shard")
        content = bytearray(path.read_bytes())
        offset, size = manifest.value(row, "clip_offset"), manifest.value(row, "clip_size")
        content[offset : offset + size] = how(size)
        digests[row] = hashlib.sha256(content[offset : offset + size]).hexdigest()
        path.write_bytes(content)
    table = table.set_column(table.column_names.index("clip_sha256"), "clip_sha256", pa.array(digests))
    write_manifest(folder, table, manifest.card)
    return open_manifest(folder)


def test_a_clip_that_does_not_decode_is_named_alone(mouse_shards, make_loader, tmp_path):
    loader = make_loader(undecodable(mouse_shards, tmp_path / "set", (2,)), batch=2)
    with pytest.raises(ValueError, match=f"1 bad samples, 0 allowed .*{mouse_shards.value(2, 'key')} .*clip: does not decode"):
        list(loader.run([[ClipRequest(row=row, start=0), ClipRequest(row=row + 1, start=0)] for row in (0, 2, 4)]))
    assert [batch["row"].item() for batch in loader.run([[ClipRequest(row=6, start=0)]])] == [6]


@pytest.mark.parametrize(("decode_batches", "prefetch"), [(1, 1), (1, 3), (2, 2)])
def test_a_run_goes_on_without_what_does_not_decode(mouse_shards, make_loader, tmp_path, decode_batches, prefetch):
    """Two of the clips are bad: the next row stands in; all other batches are those of sound data, each once and in order."""
    work = [[ClipRequest(row=row, start=3), ClipRequest(row=(row + 1) % 7, start=9)] for row in (0, 2, 4, 5, 6, 1)]
    bad = undecodable(mouse_shards, tmp_path / "set", (3, 6))
    loader = make_loader(bad, batch=2, limit=2, decode_batches=decode_batches, prefetch=prefetch)
    found = list(loader.run(work))
    stand_in = [[replace(w, row={3: 4, 6: 0}.get(w.row, w.row)) for w in windows] for windows in work]
    assert equal(found, list(make_loader(mouse_shards, batch=2).run(stand_in)))
    faults = loader.feed.fallback.budget.faults
    assert sorted(fault.file.partition(":")[2] for fault in faults) == sorted(mouse_shards.value(row, "key") for row in (3, 6))
    assert all("does not decode" in fault.reason and fault.offset for fault in faults)
    assert equal(found, list(loader.run(work)))  # known now: the same again


def test_evaluation_leaves_a_bad_row_out_and_names_it(mouse_shards, make_loader, tmp_path):
    bad = undecodable(mouse_shards, tmp_path / "set", (0, 3))
    loader = make_loader(bad, batch=2, limit=2)
    loader.feed.substitute = False
    batches = list(loader.run([[ClipRequest(row=row, start=0), ClipRequest(row=row + 1, start=0)] for row in (0, 2, 4)]))
    assert [batch["row"].tolist() for batch in batches] == [[left_out(0), 1], [2, left_out(3)], [4, 5]]
    assert not batches[0]["valid"][0].any()
    assert (batches[1]["actions"][1] == -1).all()
    assert len(loader.feed.fallback.budget.faults) == 2


def test_past_the_budget_an_evaluation_ends(damaged, make_loader):
    loader = make_loader(damaged, limit=0)
    loader.feed.substitute = False
    with pytest.raises(ValueError, match="1 bad samples, 0 allowed"):
        list(loader.run([[ClipRequest(row=2, start=0)]]))


def test_padding_spends_nothing(damaged, make_loader):
    """Its content is another row's, which nobody asked for."""
    loader = make_loader(damaged, limit=0)
    loader.feed.filler = Filler(np.array([2, 4]))
    (batch,) = loader.run([[ClipRequest(row=-1, start=0)]])
    assert batch["row"].item() == -1
    assert loader.feed.filler.row == 4
    assert loader.feed.fallback.budget.faults == []


def test_windows_start_evenly_or_by_the_boost(mouse_shards):
    labels = merge_classes(np.array(mouse_shards.value(0, "actions")), MERGE)
    factors = weight_rare_classes(np.bincount(labels, minlength=6), threshold_share=0.1, cap=30)
    for boost in (None, factors):
        windows = TrainWindows(
            manifest=mouse_shards, augment=ClipAugment(), frames=40, points=6, seed=1, merge=MERGE, factors=boost
        )
        starts = np.array([windows._draw_request(0, 0, slot).start for slot in range(3000)])
        weights = np.ones(321) if boost is None else weight_windows(labels, factors, length=40)
        expected = np.cumsum(weights) / weights.sum()
        found = np.searchsorted(np.sort(starts), np.arange(321), side="right") / 3000
        assert np.abs(found - expected).max() < 1.63 / np.sqrt(3000)  # Kolmogorov-Smirnov at 1 %
        assert (
            windows._draw_request(0, 0, 7).draw.window
            == draw_clip(ClipAugment(), seed=1, epoch=0, slot=7, frames=40, points=6).window
        )


def test_tiles_cover_every_trial_once(mouse_shards):
    windows = Tiles(mouse_shards, np.array([0, 6]), frames=100)
    assert [(window.row, window.start) for window in windows] == [
        (row, start) for row in (0, 6) for start in (0, 100, 200, 300)
    ]
    lengths = Manifest(root="", card={}, table=pa.table({"frames": [10, 0, 8, 3], "split": ["train", "val", "val", "val"]}))
    windows = Tiles(lengths, np.arange(4), frames=4)
    assert [(window.row, window.start) for window in windows] == [(0, 0), (0, 4), (0, 8), (2, 0), (2, 4), (3, 0)]
    np.testing.assert_array_equal(windows.of_split("val"), [3, 4, 5])


def test_merged_by_hand():
    np.testing.assert_array_equal(merge_classes(np.array([0, 3, 7, -1], np.int8), MERGE), [0, 1, 5, -1])
    np.testing.assert_array_equal(merge_classes(np.array([0, 1]), (0, -1)), [0, -1])
