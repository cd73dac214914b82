"""Shards on an S3 server of this machine (moto), by way of a server that spoils some of its answers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tarpon.shards import store
from tarpon.shards.manifest import open_manifest
from tarpon.shards.pack import Packing, pack
from tarpon.shards.quarantine import BadSample
from tarpon.shards.reader import Reader
from tarpon.shards.remote_units import scan_places
from tarpon.shards.scratch import Scratch
from tarpon.shards.sources.fish.source import FISH, FishSource
from tarpon.shards.store import NotThere, Store, StoreError
from tarpon.shards.tar_cache import Cache

s3fs = pytest.importorskip("s3fs", reason="s3:// needs s3fs: pip install 'tarpon[s3]'")
moto = pytest.importorskip("moto.server", reason="the S3 server of this test needs moto and flask")

pytestmark = pytest.mark.slow  # moto takes seconds to start, and s3fs tries again by itself


@pytest.fixture(scope="module")
def s3_server():
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(s3_server, toy_shards, faulty_server, tmp_path, monkeypatch):
    """(the toy's manifest on the disk, the spoiling server); the same shards are at s3://lab/toy."""
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    local = toy_shards()
    with faulty_server.serving(s3_server) as front:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": front.url,
        }.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem(client_kwargs={"endpoint_url": s3_server})
        if not files.exists("lab"):
            files.mkdir("lab")
        for path in Path(local.root).iterdir():
            files.pipe_file(f"lab/toy/{path.name}", path.read_bytes())
        yield local, front
    s3fs.S3FileSystem.clear_instance_cache()


def test_the_bytes_that_were_packed_whatever_the_network_does(bucket, tmp_path):
    local, front = bucket
    front.faults["manifest.parquet"] = [503]
    manifest = open_manifest("s3://lab/toy", cache=Cache(folder=tmp_path / "cache"))
    assert manifest.fingerprint() == local.fingerprint()
    names = sorted(set(manifest.column("shard")))
    for name, fault in zip(names, ["cut", "corrupt", 503, "slow"] * len(names), strict=False):
        front.faults[name] = [fault]
    reader, sound = Reader(manifest), Reader(local)
    for row in range(len(manifest)):
        assert reader.read(row, "text") == sound.read(row, "text")
    assert not any(front.faults.values())


def test_raw_data_are_packed_from_a_bucket_as_from_a_folder(bucket, s3_server, fish_lab, tmp_path):
    _, front = bucket
    files = s3fs.S3FileSystem(client_kwargs={"endpoint_url": s3_server})
    for path in fish_lab.rglob("*"):
        if path.is_file():
            files.pipe_file(f"lab/raw/{path.relative_to(fish_lab)}", path.read_bytes())
    files.pipe_file("lab/raw/images/", b"")  # as some tools mark a folder
    front.faults = {".jpg": [503, "cut", "short"], "train.csv": [503, "cut"]}
    options, made = FishSource(short_side=32), []
    for root, place in ((fish_lab, Path), ("s3://lab/raw", str)):
        places = [place(f"{root}/images"), place(f"{root}/anns")]
        how = {"listing": {}, "scratch": Scratch(folder=str(tmp_path / "s")), "workers": 1}
        listed = scan_places(FISH, places, options, **how)
        packing = Packing(out=tmp_path / place.__name__, split=(0.8, 0.2, 0), given=("test",))
        with ThreadPoolExecutor(1) as pool:
            made.append(pack(listed.source, listed.found, options=options, packing=packing, executor=pool, progress=False))
    assert not any(front.faults.values())
    (here, faults), (there, told) = made
    assert told == faults
    assert there.table.equals(here.table)
    assert there.tar_sums() == here.tar_sums()
    assert there.card["inputs"] == ["s3://lab/raw/images", "s3://lab/raw/anns"]
    front.faults = {".jpg": [403] * 99}
    packing = Packing(out=tmp_path / "refused", split=(0.8, 0.2, 0), given=("test",))
    with ThreadPoolExecutor(1) as pool, pytest.raises(StoreError, match=r"s3://lab/raw/images/.*refused"):
        pack(listed.source, listed.found, options=options, packing=packing, executor=pool, progress=False)
    with pytest.raises(ValueError, match=r"s3://lab/none: no such folder, or nothing in it"):
        scan_places(FISH, ["s3://lab/none", "s3://lab/raw/anns"], options, **how)


def test_what_is_not_there_and_who_may_not(bucket, tmp_path):
    _, front = bucket
    assert "manifest.parquet" in Store("s3://lab/toy").list_names()
    with pytest.raises(ValueError, match=r"s3://lab/none: no manifest\.parquet here"):
        open_manifest("s3://lab/none")
    with pytest.raises(NotThere):
        Store("s3://no-such-bucket").read("a")
    manifest = open_manifest("s3://lab/toy", cache=Cache(folder=tmp_path / "cache"))
    front.faults[manifest.value(0, "shard")] = [403] * 9
    with pytest.raises(StoreError, match="refused"):
        Reader(manifest).read(0, "text")
    front.faults[manifest.value(0, "shard")] = [404]
    with pytest.raises(BadSample, match="no such file"):
        Reader(manifest).read(0, "text")


def test_a_server_that_is_gone_is_one_line(bucket):
    _, front = bucket
    gone = Store("s3://lab/toy", retry_s=0.1)
    front.close()
    with pytest.raises(StoreError, match="no answer for") as caught:
        gone.read("dataset.json")
    assert "\n" not in str(caught.value)
