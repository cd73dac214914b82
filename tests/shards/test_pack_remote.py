"""Packing to a URL: the same files as into a folder, gone on with after an interruption."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from tarpon.shards.manifest import open_manifest
from tarpon.shards.pack import Packing, pack


@pytest.fixture
def pack_toy(toy):
    """(out, count=) -> manifest, faults of the toy packed to a folder or URL by one thread."""

    def run(out: str, *, count: int = 12):
        options = toy.Options()
        with ThreadPoolExecutor(1) as pool:
            packing = Packing(out=out, shard_size=40)
            return pack(toy.TOY, toy.scan(count, options), options=options, packing=packing, executor=pool, progress=False)

    return run


@pytest.fixture
def url(tmp_path):
    yield f"memory://{tmp_path.name}/set"
    fsspec.filesystem("memory").store.clear()


def stored(url: str) -> dict[str, bytes]:
    files = fsspec.filesystem("memory")
    return {Path(path).name: files.cat_file(path) for path in files.find(url.removeprefix("memory:/"))}


def test_the_files_are_those_of_a_folder(pack_toy, url, tmp_path):
    manifest, faults = pack_toy(url)
    here, others = pack_toy(str(tmp_path / "here"))
    assert manifest.fingerprint() == here.fingerprint()
    assert faults == others
    assert stored(url) == {path.name: path.read_bytes() for path in Path(here.root).iterdir()}
    assert open_manifest(url).card == here.card
    again, told = pack_toy(url)  # it is there: nothing is made
    assert again.fingerprint() == here.fingerprint()
    assert told == faults
    with pytest.raises(ValueError, match="other files or settings"):
        pack_toy(url, count=6)


def test_after_an_interruption_what_is_done_stays_and_what_is_stale_goes(pack_toy, url, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_FAIL", "6")
    with pytest.raises(OSError, match="No space left"):
        pack_toy(url)
    begun = stored(url)
    assert "shard-00000.tar" in begun
    assert "manifest.parquet" not in begun
    with pytest.raises(ValueError, match="packing did not finish"):
        open_manifest(url)
    made = []
    monkeypatch.setenv("TOY_FAIL", "-1")
    real = fsspec.filesystem("memory").put_file
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", lambda self, *a, **k: made.append(a[1]) or real(*a, **k))
    fsspec.filesystem("memory").pipe_file(f"{url.removeprefix('memory:/')}/shard-00099.tar", b"of other settings")
    pack_toy(url)
    pack_toy(str(tmp_path / "here"))
    assert not any(path.endswith("shard-00000.tar") for path in made)
    assert stored(url) == {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}


def test_a_folder_as_a_url_is_made(pack_toy, tmp_path):
    pack_toy(f"file://{tmp_path}/new/set", count=3)
    pack_toy(str(tmp_path / "here"), count=3)
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    found = [path for path in (tmp_path / "new" / "set").rglob("*") if path.is_file()]
    assert sorted(path.name for path in found) == names


def test_a_part_stands_after_its_tar(pack_toy, url, monkeypatch):
    """The order of uploads: what says that a shard is done comes last."""
    order = []
    files = fsspec.filesystem("memory")
    put, pipe = files.put_file, files.pipe_file
    monkeypatch.setattr(type(files), "put_file", lambda self, *a, **k: order.append(Path(a[1]).name) or put(*a, **k))
    monkeypatch.setattr(type(files), "pipe_file", lambda self, *a, **k: order.append(Path(a[0]).name) or pipe(*a, **k))
    pack_toy(url, count=3)
    assert order.index("shard-00000.tar") < order.index("shard-00000.idx") < order.index("shard-00000.parquet")
    assert order[-2:] == ["dataset.json", "manifest.parquet"]


def test_a_web_server_is_not_written_to(pack_toy):
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install 'tarpon[http]'")
    with pytest.raises(ValueError, match="nothing is written to a web server"):
        pack_toy("http://127.0.0.1:9/set")
