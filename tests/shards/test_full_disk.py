"""Packing and caching features on a disk that is full, read-only or gone: told, nothing half-written; a later run goes on."""

import errno
import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tarpon.shards import features
from tarpon.shards.features import CARD, FeatureCache, open_features
from tarpon.shards.manifest import MANIFEST

UNITS = 200  # some 2 MB of tars

VECTORS = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)  # 0.75 MB: three times that while it is made
ROWS = pa.table({"key": [f"k{row}" for row in range(len(VECTORS))], "split": ["train"] * len(VECTORS)})


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def drafts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.tmp"))


def error_of(function: Callable, *arguments: object) -> OSError | None:
    try:
        function(*arguments)
    except OSError as error:
        return error
    return None


def fill(out: Path) -> None:
    cache = FeatureCache(out=out, card={"count": len(VECTORS), "dim": VECTORS.shape[1], "dtype": "fp32"})
    if cache.check():
        return
    cache.begin()
    for chunk in cache.chunks():
        cache.write(chunk, VECTORS[chunk.start : chunk.stop])
    cache.finish(ROWS)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(features, "CHUNK_ROWS", 500)


@pytest.mark.parametrize("processes", [False, True])
def test_packing_goes_on_where_the_disk_was_full(toy, small_disk, tmp_path, processes):
    out = small_disk.folder / "out"
    with ThreadPoolExecutor(2) as threads:
        pool = None if processes else threads
        toy.run(tmp_path / "roomy", count=UNITS, executor=threads)
        with pytest.raises(OSError, match="No space left") as told:
            toy.run(out, count=UNITS, workers=2, executor=pool)
        assert told.value.errno == errno.ENOSPC
        assert str(out) in str(told.value)
        assert not drafts(out)
        assert not (out / MANIFEST).exists()
        small_disk.mount("size=16m")
        toy.run(out, count=UNITS, workers=2, executor=pool)
    assert digests(out) == digests(tmp_path / "roomy")


def test_a_feature_cache_goes_on_wherever_the_disk_was_full(small_disk, tmp_path):
    """The disk grows by small steps: it is full at a chunk, while they are joined, at the labels and at the card."""
    fill(tmp_path / "roomy")
    out, full = small_disk.folder / "out", 0
    for kilobytes in range(200, 4000, 100):
        small_disk.mount(f"size={kilobytes}k")
        error = error_of(fill, out)
        if error is None:
            break
        assert error.errno == errno.ENOSPC
        assert str(out) in str(error)
        full += 1
        assert not drafts(out)
        assert not (out / CARD).exists()
    assert full > 10
    assert digests(out) == digests(tmp_path / "roomy")
    np.testing.assert_array_equal(open_features(out).features, VECTORS)


def test_a_read_only_disk_is_told_and_nothing_is_lost(toy, small_disk):
    out = small_disk.folder / "out"
    small_disk.mount("size=16m")
    with ThreadPoolExecutor(2) as pool:
        toy.run(out, count=20, executor=pool)
        fill(small_disk.folder / "features")
        before = digests(small_disk.folder)
        small_disk.mount("ro")
        with pytest.raises(OSError, match="Read-only file system"):
            toy.run(small_disk.folder / "other", count=20, executor=pool)
        with pytest.raises(OSError, match="Read-only file system"):
            fill(small_disk.folder / "more")
        toy.run(out, count=20, executor=pool)  # a finished set is opened all the same
        fill(small_disk.folder / "features")
    small_disk.mount("rw")
    assert digests(small_disk.folder) == before


def test_a_folder_that_vanishes_is_told_and_a_later_run_makes_it_again(toy, tmp_path, monkeypatch):
    out, make = tmp_path / "out", toy.make

    def vanish(unit):
        if unit.number == 5:
            shutil.rmtree(out)
        yield from make(unit)

    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(toy, "make", vanish)
        monkeypatch.setattr(toy, "TOY", toy.Source(**{**vars(toy.TOY), "make": vanish}))
        with pytest.raises((ValueError, OSError), match="No such file or directory") as told:
            toy.run(out, executor=pool)
        assert str(out) in str(told.value)
        monkeypatch.undo()
        toy.run(out, executor=pool)
        toy.run(tmp_path / "other", executor=pool)
    assert digests(out) == digests(tmp_path / "other")
