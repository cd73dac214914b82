"""Reader: the bytes that were packed, or a BadSample that says where."""

import contextlib
import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from tarpon.shards import reader as module
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.quarantine import BadSample
from tarpon.shards.reader import Reader
from tarpon.shards.tar_cache import FOLDER, Cache


def check_all(reader: Reader, manifest: Manifest) -> None:
    for row in range(len(manifest)):
        for column in ("text", "more"):
            content = reader.read(row, column)
            assert len(content) == manifest.value(row, f"{column}_size")
            if content:
                assert hashlib.sha256(content).hexdigest() == manifest.value(row, f"{column}_sha256")


def damage(manifest: Manifest, row: int, column: str, *, cut: bool) -> tuple[str, str, int]:
    shard, offset = manifest.value(row, "shard"), manifest.value(row, f"{column}_offset")
    path = Path(manifest.root) / shard
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content[: offset + 1] if cut else content)
    return shard, manifest.value(row, "key"), offset


def test_all_bytes_come_back(toy_shards):
    manifest = toy_shards()
    check_all(Reader(manifest), manifest)
    assert Reader(manifest).read(0, "more") == b""  # the sample has none
    assert Reader(manifest).read(2, "text") == b"1-0 1-0 "


def test_a_flipped_bit_is_a_bad_sample_named_by_tar_key_and_offset(toy_shards):
    manifest = toy_shards()
    shard, key, offset = damage(manifest, 5, "text", cut=False)
    with pytest.raises(BadSample, match="checksum") as caught:
        Reader(manifest).read(5, "text")
    assert caught.value.fault.file == f"{shard}:{key}"
    assert caught.value.fault.offset == offset
    assert len(Reader(manifest, verify=False).read(5, "text")) == manifest.value(5, "text_size")


def test_a_checksum_is_looked_at_once_and_every_size_each_time(toy_shards):
    manifest = toy_shards()
    reader = Reader(manifest)
    whole = reader.read(5, "text")
    damage(manifest, 5, "text", cut=False)
    assert reader.read(5, "text") != whole  # a million reads an epoch are not hashed again
    damage(manifest, 5, "text", cut=True)
    with pytest.raises(BadSample, match="cut short"):
        reader.read(5, "text")
    with pytest.raises(BadSample):
        Reader(manifest).read(5, "text")


def test_a_tar_that_is_opened_again_is_looked_at_again(toy_shards, monkeypatch):
    monkeypatch.setattr(module, "OPEN_TARS", 1)
    manifest = toy_shards()
    other = next(row for row in range(len(manifest)) if manifest.value(row, "shard") != manifest.value(5, "shard"))
    reader = Reader(manifest)
    reader.read(5, "text")
    damage(manifest, 5, "text", cut=False)
    reader.read(5, "text")
    reader.read(other, "text")  # closes the first tar
    with pytest.raises(BadSample, match="checksum"):
        reader.read(5, "text")


def test_on_request_every_read_is_looked_at(toy_shards):
    manifest = toy_shards()
    reader = Reader(manifest, always=True)
    reader.read(5, "text")
    damage(manifest, 5, "text", cut=False)
    with pytest.raises(BadSample, match="checksum"):
        reader.read(5, "text")


def test_a_short_and_a_missing_tar_are_bad_samples(toy_shards):
    manifest = toy_shards()
    shard, key, offset = damage(manifest, 5, "text", cut=True)
    with pytest.raises(BadSample, match=f"{shard}:{key} offset {offset}: text: 1 of .* bytes; the tar is cut short"):
        Reader(manifest).read(5, "text")
    (Path(manifest.root) / shard).unlink()
    with pytest.raises(BadSample, match=f"cannot read {shard}"):
        Reader(manifest).read(5, "text")


def open_in(folder: str) -> int:
    """Descriptors of this process on files in a folder: those alone, for earlier tests leave some that are closed any time."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # of this listing itself
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return sum(Path(folder).resolve() in Path(link).parents for link in links)


def test_many_threads_and_few_descriptors(toy_shards, monkeypatch):
    monkeypatch.setattr(module, "OPEN_TARS", 2)
    manifest = toy_shards()
    reader = Reader(manifest)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: check_all(reader, manifest), range(8)))
    assert 0 < open_in(manifest.root) <= 2
    reader.close()
    assert open_in(manifest.root) == 0


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_remote_shards_through_a_bounded_cache(toy_shards, tmp_path, scheme):
    local = toy_shards()
    if scheme == "file":
        root = f"file://{local.root}"
    else:
        root = f"memory://{tmp_path.name}/toy"
        files = fsspec.filesystem("memory")
        files.put(f"{local.root}/", f"/{tmp_path.name}/toy/", recursive=True)
    manifest, cache = open_manifest(root), tmp_path / "cache"
    assert manifest.fingerprint() == local.fingerprint()
    with pytest.raises(ValueError, match="remote"):
        Reader(manifest)
    sizes = [path.stat().st_size for path in Path(local.root).glob("*.tar")]
    bound = 2 * max(sizes)
    reader = Reader(replace(manifest, cache=Cache(folder=cache, size=bound)))
    check_all(reader, manifest)
    kept = [path for path in (cache / FOLDER).iterdir() if not path.name.startswith(".lock-")]
    assert 0 < sum(path.stat().st_size for path in kept) <= bound < sum(sizes)
    assert {path.suffix for path in kept} == {".tar"}


def test_what_is_cached_is_not_fetched_again(toy_shards, tmp_path):
    local = toy_shards()
    manifest = open_manifest(f"file://{local.root}")
    check_all(Reader(replace(manifest, cache=Cache(folder=tmp_path / "cache"))), manifest)
    for path in Path(local.root).glob("*.tar"):
        path.unlink()
    check_all(Reader(replace(manifest, cache=Cache(folder=tmp_path / "cache"))), manifest)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(BadSample, match="cannot read"):
        Reader(replace(manifest, cache=Cache(folder=tmp_path / "cache"))).read(0, "text")
