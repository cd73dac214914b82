"""Shards on an S3 server of this machine (moto), by way of a server that spoils some of its answers."""

from pathlib import Path

import pytest

from tarpon.shards import store
from tarpon.shards.manifest import open_manifest
from tarpon.shards.quarantine import BadSample
from tarpon.shards.reader import Reader
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
