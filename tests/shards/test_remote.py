"""Remote shards through the cache: the bytes that were packed, bounded, fetched once a node, whatever the network does."""

import hashlib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tarpon.shards import tar_cache as module
from tarpon.shards.fetch_ahead import FetchAhead
from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import BadSample
from tarpon.shards.reader import Reader
from tarpon.shards.store import StoreError
from tarpon.shards.tar_cache import FOLDER, Cache


def check_all(manifest: Manifest, reader: Reader) -> None:
    for row in range(len(manifest)):
        content = reader.read(row, "text")
        assert hashlib.sha256(content).hexdigest() == manifest.value(row, "text_sha256")


def held(cache: Path) -> list[Path]:
    return [path for path in (cache / FOLDER).iterdir() if not path.name.startswith(".lock-")]


def tars(manifest: Manifest) -> list[str]:
    return sorted(set(manifest.column("shard")))


def test_every_tar_is_fetched_once(http_shards):
    manifest = http_shards.open()
    assert manifest.fingerprint() == http_shards.local.fingerprint()
    check_all(manifest, Reader(manifest))
    check_all(manifest, Reader(http_shards.open()))
    assert [http_shards.server.served[name] for name in tars(manifest)] == [1] * len(tars(manifest))


@pytest.mark.parametrize("fault", ["cut", "short", "corrupt", "slow", 503])
def test_one_spoilt_download_of_a_tar_is_no_bad_sample(http_shards, fault):
    manifest = http_shards.open()
    for name in tars(manifest):
        http_shards.server.faults[name] = [fault]
    check_all(manifest, Reader(manifest))
    assert all(not left for left in http_shards.server.faults.values())


@pytest.mark.parametrize("fault", ["short", "corrupt"])
def test_without_a_checksum_of_the_tar_the_samples_tell(http_shards, fault):
    """As data packed by an earlier version: what was fetched is found wrong when a sample is read, and fetched once more."""
    manifest = http_shards.open()
    manifest = replace(manifest, table=manifest.table.replace_schema_metadata(None))
    assert all(not told.sha256 and told.size > 0 for told in manifest.tar_sums().values())
    for name in tars(manifest):
        http_shards.server.faults[name] = [fault]
    reader = Reader(manifest)
    check_all(manifest, reader)
    assert all(http_shards.server.served[name] <= 2 for name in tars(manifest))


def test_a_tar_that_is_damaged_in_the_store_costs_its_bad_samples_alone(http_shards):
    manifest = http_shards.open()
    shard, offset = manifest.value(0, "shard"), manifest.value(0, "text_offset")
    path = Path(http_shards.local.root) / shard
    sound = path.read_bytes()
    path.write_bytes(sound[:offset] + bytes([sound[offset] ^ 1]) + sound[offset + 1 :])
    reader = Reader(manifest)
    with pytest.raises(BadSample, match="checksum"):
        reader.read(0, "text")
    assert reader.read(1, "text")
    with pytest.raises(BadSample, match="checksum"):
        reader.read(0, "text")
    assert http_shards.server.served[shard] <= 4  # not for every reading
    path.write_bytes(sound)
    assert Reader(http_shards.open()).read(0, "text")  # mended: the next process asks for it anew


def test_a_missing_tar_is_a_bad_sample_and_a_silent_store_is_not(http_shards):
    manifest = http_shards.open(retry_s=0.2)
    shard = manifest.value(0, "shard")
    path = Path(http_shards.local.root) / shard
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(BadSample, match=f"cannot read {shard}"):
        Reader(manifest).read(0, "text")
    path.write_bytes(content)
    http_shards.server.faults[shard] = [503] * 1000
    with pytest.raises(StoreError, match="no answer"):
        Reader(manifest).read(0, "text")
    http_shards.server.faults[shard] = [403]
    with pytest.raises(StoreError, match="refused"):
        Reader(manifest).read(0, "text")


def test_nothing_but_its_own_tars_is_removed(http_shards):
    """A folder with other files in it, one of them of the form of an old cached tar, and a small bound."""
    cache = http_shards.cache
    (cache / FOLDER).mkdir(parents=True)
    names = ("mine.tar", "0123456789ab-shard-00000.tar", f"{FOLDER}/mine.tar", f"{FOLDER}/x.draft")
    strangers = [cache / name for name in names]
    for path in strangers:
        path.write_bytes(b"x" * 100)
    manifest = http_shards.open(size=2 * max(told.size for told in http_shards.local.tar_sums().values()))
    check_all(manifest, Reader(manifest))
    assert all(path.read_bytes() == b"x" * 100 for path in strangers)


def test_the_bound_holds_drafts_too_at_every_moment(http_shards):
    """Four threads, a bound of two tars: nothing in the folder, by what is promised or by what is there, is ever over it."""
    bound = 2 * max(told.size for told in http_shards.local.tar_sums().values())
    manifest = http_shards.open(size=bound)
    reader, over, done = Reader(manifest), [], threading.Event()

    def watch():
        while not done.is_set():
            total = 0
            for path in held(http_shards.cache) if (http_shards.cache / FOLDER).exists() else ():
                try:
                    total += path.stat().st_size
                except FileNotFoundError:
                    continue
            over.append(total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: check_all(manifest, reader), range(3)))
    done.set()
    watcher.join()
    assert 0 < max(over) <= bound


def test_a_bound_below_a_tar_is_one_line(http_shards):
    with pytest.raises(ValueError, match=r"shard-\d+.tar takes \d+ bytes, the cache may hold 100; give more \(cache_bytes\)"):
        Reader(http_shards.open(size=100)).read(0, "text")
    with pytest.raises(ValueError, match="cache_bytes=0"):
        Cache(folder=Path("x"), size=0)


def test_drafts_of_the_dead_are_removed_and_count_no_more(http_shards):
    manifest = http_shards.open()
    (http_shards.cache / FOLDER).mkdir(parents=True)
    dead = http_shards.cache / FOLDER / f".shard-00000-{'a' * 32}.tar.{2**40}.host-1-1.draft"
    dead.write_bytes(b"half")
    Reader(manifest).read(0, "text")
    assert not dead.exists()


READ_MANY = """
import sys
from pathlib import Path
import numpy as np
from tarpon.shards.manifest import open_manifest
from tarpon.shards.reader import Reader
from tarpon.shards.tar_cache import Cache

url, folder, bound = sys.argv[1:]
manifest = open_manifest(url, cache=Cache(folder=Path(folder), size=int(bound)))
reader = Reader(manifest)
print("ready", flush=True)
sys.stdin.readline()
for row in np.random.default_rng(0).permutation(np.tile(np.arange(len(manifest)), 2)):
    reader.read(int(row), "text")
print(reader.tars.fetched)
"""


@pytest.mark.parametrize("tars_held", [2, 100])
def test_processes_share_a_cache(http_shards, tars_held):
    """A small one without a failed reading; in a large one each tar is fetched once, by one of them."""
    bound = tars_held * max(told.size for told in http_shards.local.tar_sums().values())
    words = [sys.executable, "-c", READ_MANY, http_shards.server.url, str(http_shards.cache), str(bound)]
    processes = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    if tars_held == 100:
        assert sum(map(int, said)) == len(tars(http_shards.local))


def test_another_data_set_at_the_same_place_is_another(http_shards, toy, tmp_path):
    manifest = http_shards.open()
    before = Reader(manifest).read(0, "text")
    with ThreadPoolExecutor(1) as pool:
        other, _ = toy.run(tmp_path / "other", count=11, shard_size=20, executor=pool)
    for path in Path(other.root).iterdir():
        (Path(http_shards.local.root) / path.name).write_bytes(path.read_bytes())
    check_all(http_shards.open(), Reader(http_shards.open()))
    assert Reader(manifest).read(0, "text") == before  # from the cache, under its own key


def test_one_damaged_line_of_the_tars_is_said(http_shards):
    table = http_shards.local.table.replace_schema_metadata({"tars": "[1"})
    with pytest.raises(ValueError, match=r"manifest\.parquet: its list of tars"):
        replace(http_shards.local, table=table).tar_sums()


def test_the_tars_of_the_next_batches_are_fetched_before_they_are_read(http_shards):
    manifest = http_shards.open()
    reader = Reader(manifest)
    batches = [np.array([row]) for row in range(len(manifest))]
    ahead = FetchAhead([(manifest, reader)]).stream(batches, lambda rows: rows, most=4)
    assert next(ahead).tolist() == [0]
    wanted = {manifest.value(row, "shard") for row in range(4)}
    deadline = time.monotonic() + 20
    while {name for name, count in http_shards.server.served.items() if count} & set(tars(manifest)) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [int(rows[0]) for rows in ahead] == list(range(1, len(manifest)))  # all, in order


def test_no_more_is_fetched_ahead_than_the_cache_holds(http_shards):
    size = max(told.size for told in http_shards.local.tar_sums().values())
    manifest = http_shards.open(size=2 * size)
    asked = []
    ahead = FetchAhead([(manifest, Reader(manifest))])
    ahead._ask = asked.append
    rows = [np.flatnonzero(manifest.column("shard") == name) for name in tars(manifest)]
    stream = ahead.stream(rows, lambda batch: batch, most=100)
    next(stream)
    assert asked == [0, 1]
    list(stream)
    assert set(asked) <= set(range(len(rows)))
    assert len(asked) == len(set(asked))


def test_local_shards_are_not_looked_ahead_at(toy_shards):
    manifest = toy_shards()
    drawn = []
    stream = FetchAhead([(manifest, Reader(manifest))]).stream(
        (drawn.append(i) or np.array([i]) for i in range(9)), lambda rows: rows, most=9
    )
    next(stream)
    assert drawn == [0]


def test_sizes_without_checksums_hold_the_tar(toy_shards):
    """The bound is kept by them: never below what the tar takes."""
    manifest = toy_shards()
    plain = replace(manifest, table=manifest.table.replace_schema_metadata(None))
    assert {name: told.size for name, told in manifest.tar_sums().items()} == {
        path.name: path.stat().st_size for path in Path(manifest.root).glob("*.tar")
    }
    assert all(told.size >= manifest.tar_sums()[name].size for name, told in plain.tar_sums().items())
    assert isinstance(plain.table, pa.Table)
    assert module.LOCKS > 1
