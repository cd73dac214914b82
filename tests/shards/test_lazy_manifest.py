"""A set opened by its shards answers as the whole manifest, reads only what is asked for, and refuses what was changed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tarpon.shards.lazy_manifest import LazyManifest, open_lazily
from tarpon.shards.manifest import CARD, SPLITS, Manifest, write_manifest
from tarpon.shards.reader import Reader
from tarpon.shards.schema import Summary
from tarpon.shards.shard_table import SHARDS, cut_by_shard, write_shard_table
from tarpon.shards.store import Store

ROW_COUNT = 72  # of the toy with 40 units


def total(rows: pa.Table) -> dict[str, object]:
    return {"counts": np.array(rows["counts"].to_pylist()).sum(0).tolist()}


@pytest.fixture
def both(toy_shards, toy) -> tuple[Manifest, LazyManifest]:
    """The toy, some of whose shards hold several splits, opened in both ways, with sums and kinds."""
    manifest = toy_shards(count=40)
    summary = Summary(columns=(("counts", pa.list_(pa.int64())),), make=total, kinds=("number", "split"))
    schema = replace(toy.SCHEMA, summary=summary)
    entries = write_shard_table(manifest.store, manifest.table, schema, rows_sum=manifest.fingerprint())
    write_manifest(manifest.root, manifest.table, manifest.card | entries)
    return manifest, open_lazily(manifest.root, kind="toy")


def test_cells_lists_and_splits_are_those_of_the_manifest(both):
    whole, lazy = both
    assert len(lazy) == len(whole) == ROW_COUNT
    assert lazy.tars == whole.tars
    assert len(lazy.tars) > 4
    for row in range(ROW_COUNT):
        for name in ("key", "shard", "split", "number", "text_offset", "source", "source_sha256"):
            assert lazy.value(row, name) == whole.value(row, name)
    rows = np.array([71, 0, 7, 8, 30])
    np.testing.assert_array_equal(lazy.tar_numbers(rows), whole.tar_numbers(rows))
    for chosen in (rows, rows[:0]):
        for one, two in zip(lazy.lists("counts", chosen), whole.lists("counts", chosen), strict=True):
            np.testing.assert_array_equal(one, two)
    for split in SPLITS:
        own = whole.rows(split)
        assert lazy.split_size(split) == len(own) == len(lazy.rows(split))
        assert [lazy.rows(split)[place] for place in range(len(own))] == own.tolist()
        np.testing.assert_array_equal(np.asarray(lazy.rows(split)), own)
        by_shard = [lazy.split_rows(split, shard) for shard in range(len(lazy.tars))]
        np.testing.assert_array_equal(np.concatenate(by_shard), own)
        np.testing.assert_array_equal(lazy.split_counts(split), [len(found) for found in by_shard])
    assert lazy.tar_sums() == {name: whole.tar_sums()[name] for name in lazy.tars}  # one without rows is never read
    assert (lazy.identity, lazy.remark) == (whole.identity, None)
    assert lazy.fingerprint() == whole.fingerprint()


def test_sums_and_kinds_are_those_of_the_manifest(both):
    whole, lazy = both
    for split in SPLITS:
        np.testing.assert_array_equal(lazy.sum_lists("counts", split, length=2), whole.sum_lists("counts", split, length=2))
    for columns in (("number",), ("split", "number"), ("split",)):
        assert lazy.count_kinds(*columns) == whole.count_kinds(*columns)
    assert lazy.count_groups() == whole.count_groups()
    with pytest.raises(ValueError, match="does not count key"):
        lazy.count_kinds("key")
    with pytest.raises(ValueError, match="no column train_weight; write it again"):
        lazy.summary("train", "weight")


def test_a_reader_reads_by_it(both):
    whole, lazy = both
    one, two = Reader(whole), Reader(lazy)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda row: two.read(row, "text"), range(ROW_COUNT)))
    assert read == [one.read(row, "text") for row in range(ROW_COUNT)]
    assert lazy.rows("train")[-1] == whole.rows("train")[-1]
    for row in (-1, ROW_COUNT):
        with pytest.raises(IndexError, match="not among the 72 rows"):
            lazy.value(row, "key")
    with pytest.raises(ValueError, match="no column colour"):
        lazy.value(0, "colour")


def test_only_the_shards_asked_for_are_read_and_few_are_kept(both):
    _, lazy = both
    read = []
    store = Store(lazy.root)
    store.read = lambda name: read.append(name) or Store(lazy.root).read(name)
    lazy = replace(lazy, store=store, held=2)
    assert len(lazy) == ROW_COUNT
    assert not read
    first = [lazy.first_row(shard) for shard in range(3)]
    for row in (first[0], first[0], first[1], first[0], first[2], first[1]):
        lazy.value(row, "key")
    assert [name.partition("-")[2] for name in read] == ["00000.parquet", "00001.parquet", "00002.parquet", "00001.parquet"]


def test_shards_of_one_split_are_not_read_to_find_its_rows(both):
    whole, lazy = both
    read = []
    store = Store(lazy.root)
    store.read = lambda name: read.append(name) or Store(lazy.root).read(name)
    lazy = replace(lazy, store=store)
    for shard in range(len(lazy.tars)):
        for split in SPLITS:
            lazy.split_rows(split, shard)
    mixed = [shard for shard, (_, first, count) in enumerate(cut_by_shard(whole.table["shard"]))
             if len(set(whole.column("split")[first : first + count])) > 1]  # fmt: skip
    assert 0 < len(mixed) < len(lazy.tars)
    assert read == [f"shard-{shard:05d}.parquet" for shard in mixed]


def test_what_was_changed_or_is_missing_is_told_in_one_line(both):
    _, lazy = both
    root = Path(lazy.root)
    part = root / "shard-00001.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:-9] + b"x" + content[-8:])
    row = lazy.first_row(1)
    with pytest.raises(ValueError, match=r"/shard-00001\.parquet: checksum differs from shards\.parquet"):
        lazy.value(row, "key")
    part.unlink()
    with pytest.raises(ValueError, match=r"/shard-00001\.parquet: no such file; copy it there, or make it with"):
        lazy.value(row, "key")
    with pytest.raises(ValueError, match="holds toy data, mouse is needed"):
        open_lazily(root, kind="mouse")
    lines = pq.read_table(root / SHARDS)
    pq.write_table(lines.slice(1), root / SHARDS)
    with pytest.raises(ValueError, match=r"shards\.parquet: checksum differs from dataset\.json"):
        open_lazily(root)
    (root / SHARDS).unlink()
    with pytest.raises(ValueError, match=r"no shards\.parquet here; `tarpon upgrade"):
        open_lazily(root)
    (root / CARD).unlink()
    with pytest.raises(ValueError, match=r"no dataset\.json"):
        open_lazily(root)


def test_rows_that_lie_apart_are_refused(tmp_path):
    with pytest.raises(ValueError, match="rows of a lie apart"):
        cut_by_shard(pa.chunked_array([["a", "b", "a"]]))
    assert cut_by_shard(pa.chunked_array([["a", "a"], ["a", "b"]])) == [("a", 0, 3), ("b", 3, 1)]


def test_packing_writes_them_and_what_an_earlier_packing_left_goes(toy_shards, toy):
    manifest = toy_shards()
    lazy = open_lazily(manifest.root)
    assert lazy.fingerprint() == manifest.fingerprint()
    stale = Path(manifest.root) / "shard-99999.parquet"
    stale.write_bytes(b"of more shards")
    entries = write_shard_table(manifest.store, manifest.table, toy.SCHEMA, rows_sum=manifest.fingerprint())
    assert not stale.exists()
    assert entries == {name: manifest.card[name] for name in entries}


def test_those_of_another_manifest_are_refused(both):
    whole, lazy = both
    write_manifest(whole.root, whole.table.slice(2), whole.card)
    with pytest.raises(ValueError, match=r"shards\.parquet: is of another manifest; `tarpon upgrade"):
        open_lazily(lazy.root)
