"""The loader benchmark of photographs compares the same photographs at the same size."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tarpon.shards.manifest import open_manifest
from tarpon.tools.bench import loader
from tarpon.tools.star import baseline_loader, bench_loader

pytest.importorskip("cv2")
pytest.importorskip("albumentations")
SIZE, PHOTOS = 48, 6


@pytest.fixture(scope="module")
def setup(tmp_path_factory) -> bench_loader.Setup:
    """Six photographs, packed, and as files."""
    folder = tmp_path_factory.mktemp("bench")
    shards = bench_loader.write_photographs(folder, photos=PHOTOS, workers=1)
    bench_loader.write_files(open_manifest(shards, kind="reid"), folder / "files", batch=2)
    return bench_loader.Setup(shards=shards, files=str(folder / "files"), size=SIZE, batch=2, device=None, cores=1)


def test_photographs_made_up_are_large_and_detailed_as_real_ones(setup):
    manifest = open_manifest(setup.shards, kind="reid")
    assert len(manifest.rows("train")) == PHOTOS
    assert set(manifest.column("width")) == {620}
    assert 60_000 < np.mean(manifest.column("jpg_size")) < 180_000  # bytes; a photograph of 620 pixels has about 120 000


def test_the_baselines_read_the_files_of_the_shards(setup, tmp_path):
    files = sorted(path.read_bytes() for path in Path(setup.files).iterdir())
    manifest = open_manifest(setup.shards, kind="reid")
    reader = bench_loader.Reader(manifest)
    assert files == sorted(reader.read(row, "jpg") for row in manifest.rows("train").tolist())
    with pytest.raises(ValueError, match="6 training photographs do not fill a batch of 7; give a smaller --batch"):
        bench_loader.write_files(manifest, tmp_path / "files", batch=7)


@pytest.mark.parametrize("reader", baseline_loader.READERS)
def test_a_baseline_delivers_normalised_squares_that_vary(setup, reader):
    dataset = baseline_loader.Photographs(sorted(Path(setup.files).iterdir()), reader=reader, size=SIZE)
    assert len(dataset) == PHOTOS
    torch.manual_seed(0)
    shown = torch.stack([dataset[0] for _ in range(4)])
    assert shown.shape == (4, 3, SIZE, SIZE)
    assert shown.dtype == torch.float32
    assert 0.2 < shown.std() < 2
    assert (shown[0] - shown[1]).abs().mean() > 0.1
    batch = next(baseline_loader.make_loader(dataset, batch=4, workers=0))
    assert batch.shape == (4, 3, SIZE, SIZE)


@pytest.mark.parametrize("name", ["wildlife", "underwater"])
def test_tarpon_delivers_batch_after_batch(setup, name):
    steps = bench_loader.tarpon_steps(setup=setup, augment=getattr(bench_loader, name)())
    assert list(itertools.islice(steps, 5)) == [2] * 5
    steps.close()


def test_an_epoch_has_every_photograph_once_and_the_next_other_draws(setup):
    rows = np.arange(6)
    batches = list(itertools.islice(bench_loader.iterate_requests(rows, bench_loader.wildlife(), batch=2), 6))
    first, second = batches[:3], batches[3:]
    for epoch in (first, second):
        assert sorted(shot.row for batch in epoch for shot in batch) == list(range(6))
    draws = [[shot.draw.zoom for batch in epoch for shot in batch] for epoch in (first, second)]
    assert len({*draws[0], *draws[1]}) == 12


def test_parts_switch_one_kind_off_each():
    made = bench_loader.list_parts()
    assert made[bench_loader.EVALUATION] is None
    assert made[f"{bench_loader.UNDERWATER} but clahe_p"].clahe_p == 0
    assert made[f"{bench_loader.UNDERWATER} but clahe_p"].spatter_p == bench_loader.underwater().spatter_p


@pytest.mark.slow
def test_a_run_writes_the_agreed_json(capsys, tmp_path):
    options = {"photos": 4, "size": 32, "batch": 2, "seconds": 0.05, "repeats": 1, "warm_up": 0.0}
    assert loader.run(task="star", json=str(tmp_path / "b.json"), **options) == 0
    told = json.loads((tmp_path / "b.json").read_text())
    speed = {row["name"]: row["per_second"] for row in told["rows"]}
    sets = (bench_loader.WILDLIFE, bench_loader.UNDERWATER)
    packed_at_size = {bench_loader.READY.format(name) for name in sets}
    assert set(speed) == {*sets, *packed_at_size, bench_loader.PILLOW, bench_loader.ALBUMENTATIONS}
    ratio = speed[bench_loader.WILDLIFE] / speed[bench_loader.PILLOW]
    assert told["ratios"]["tarpon_over_torchvision"] == pytest.approx(ratio)
    said = capsys.readouterr().out
    assert "the aim is 3" in said
    assert "the aim is 2" in said


def test_the_verdict_is_by_each_sets_own_aim():
    speed = {
        bench_loader.WILDLIFE: 310.0, bench_loader.PILLOW: 100.0,
        bench_loader.UNDERWATER: 190.0, bench_loader.ALBUMENTATIONS: 100.0,
    }  # fmt: skip
    one, other = bench_loader.describe_verdict(speed).splitlines()
    assert "3.1 times Pillow" in one
    assert "met" in one
    assert "1.9 times OpenCV" in other
    assert "MISSED" in other
