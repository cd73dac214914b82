"""A kind of data set small enough to pack in a blink, as a module that other processes can import."""

import importlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tarpon.shards import store
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.tar_cache import Cache

TOY = """
import errno, os, sys, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarpon.shards.pack import Packing, pack, split_by_group
from tarpon.shards.quarantine import Fault
from tarpon.shards.schema import Component, Sample, Schema
from tarpon.shards.source import Scan, Source

SCHEMA = Schema(kind="toy", components=(Component(name="text.txt", holds="text"),
                                        Component(name="more.bin", holds="bytes", optional=True)),
                columns=(("number", pa.int32()), ("counts", pa.list_(pa.int32()))))


@dataclass(frozen=True)
class Unit:
    number: int
    group: str = ""

    def name(self):
        return f"unit{self.number}"

    def fingerprint(self):
        return f"{self.number}{self.group}"

    def size(self):
        return 10


def make(unit):
    time.sleep(float(os.environ.get("TOY_SLEEP_S", 0)))
    if unit.number == int(os.environ.get("TOY_FAIL", -1)):
        raise OSError(errno.ENOSPC, "No space left on device")
    if unit.number == int(os.environ.get("TOY_BREAK", -1)):
        raise AttributeError("'NoneType' object has no attribute 'pages'")
    if unit.number == int(os.environ.get("TOY_KILL", -1)):
        os.kill(os.getpid(), 9)
    if unit.number % 10 == 9:
        yield Fault(file=f"unit{unit.number}", reason="ends in nine", row=unit.number)
        return
    for part in range(2):
        files = {"text.txt": (f"{unit.number}-{part} " * (unit.number + 1)).encode()}
        if part:
            files["more.bin"] = bytes(range(unit.number % 256))
        yield Sample(key=f"u{unit.number}-{part}", files=files, row={
            "group": unit.group or f"g{unit.number}", "source": f"unit{unit.number}", "source_sha256": "0" * 64,
            "number": unit.number, "counts": [part, 1]})


@dataclass(frozen=True)
class Options:
    a: int = 0


def scan(count, options):
    return Scan([Unit(n) for n in range(count)], [Fault(file="junk", reason="name")])


def assign(rows, *, options, packing):
    return split_by_group(rows, np.array(rows["counts"].to_pylist()), packing=packing)


def describe(rows, *, found, options):
    return {"note": "toy", "rows": len(rows)}


TOY = Source(schema=SCHEMA, scan=scan, make=make, assign=assign, describe=describe, hint="nothing counts in {folder}")


def run(out, count=12, workers=1, executor=None, options=Options(), shard_size=40):
    packing = Packing(out=Path(out), workers=workers, shard_size=shard_size)
    return pack(TOY, scan(count, options), options=options, packing=packing, executor=executor, progress=False)


if __name__ == "__main__":
    run(sys.argv[1], executor=ThreadPoolExecutor(1))
"""


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> ModuleType:
    """run(out, count=, workers=, executor=, options=, shard_size=) packs; 9 is a fault. Knobs: TOY_SLEEP_S, TOY_FAIL ..."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy_source.py").write_text(TOY)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("toy_source")
    sys.path.remove(str(folder))


@pytest.fixture
def toy_shards(toy, tmp_path) -> Callable[..., Manifest]:
    """Pack the toy in this process's threads: (out=, **options) -> manifest."""

    def run(out: Path | None = None, *, count: int = 12, shard_size: int = 40) -> Manifest:
        with ThreadPoolExecutor(2) as pool:
            manifest, _ = toy.run(out or tmp_path / "toy", count=count, executor=pool, shard_size=shard_size)
        return manifest

    return run


@pytest.fixture
def http_shards(toy_shards, faulty_server, tmp_path, monkeypatch) -> Iterator[SimpleNamespace]:
    """The toy behind an HTTP server: local (manifest), server, open(**cache options) -> manifest; pauses are short."""
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install 'tarpon[http]'")
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    local = toy_shards()

    def open_remote(*, size: int = 2**30, retry_s: float = 5.0) -> Manifest:
        return open_manifest(server.url, cache=Cache(folder=tmp_path / "cache", size=size), retry_s=retry_s)

    with faulty_server.serving(Path(local.root)) as server:
        yield SimpleNamespace(local=local, server=server, open=open_remote, cache=tmp_path / "cache")
