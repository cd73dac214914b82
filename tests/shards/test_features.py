"""The cache on disk: mapped as it was written, whole or going on after a kill, refused for other settings."""

import json

import numpy as np
import pyarrow as pa
import pytest

from tarpon.shards import features
from tarpon.shards.features import CARD, FEATURES, PARTS, FeatureCache, find_difference, open_features, select_labels
from tarpon.shards.manifest import Manifest

COUNT, DIM = 23, 5
VECTORS = np.random.default_rng(0).standard_normal((COUNT, DIM)).astype(np.float32)
LABELS = pa.table({
    "key": [f"k{i}" for i in range(COUNT)],
    "split": ["train"] * 10 + ["test"] * 5 + ["val"] * 8,
    "family": ["a", None, "c", *["b"] * 20],
    "troph": pa.array([2.5, None, *[3.0] * 21], pa.float32()),
    "habitat": pa.array([[1, 0], None, *[[0, 1]] * 21], pa.list_(pa.int8())),
})  # fmt: skip


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(features, "CHUNK_ROWS", 4)


def cache_of(out, **card) -> FeatureCache:
    transform = {"resize": 256, "mean": (0.5, 0.5)}
    return FeatureCache(out=out, card={"count": COUNT, "dim": DIM, "dtype": "fp16", "transform": transform} | card)


def fill(cache: FeatureCache, *, rank: int = 0, world: int = 1, most: int | None = None) -> list[range]:
    """Make what one process owes, at most so many chunks."""
    chunks = cache.chunks(rank=rank, world=world)[:most]
    for chunk in chunks:
        cache.write(chunk, VECTORS[chunk.start : chunk.stop])
    return chunks


def made(out, **card) -> FeatureCache:
    cache = cache_of(out, **card)
    assert not cache.check()
    cache.begin()
    fill(cache)
    cache.finish(LABELS)
    return cache


@pytest.mark.parametrize(("dtype", "numpy_dtype"), [("fp16", np.float16), ("fp32", np.float32)])
def test_what_is_read_is_what_was_written(tmp_path, dtype, numpy_dtype):
    cache = made(tmp_path, dtype=dtype)
    table = open_features(tmp_path)
    assert table.features.dtype == numpy_dtype
    np.testing.assert_array_equal(table.features, VECTORS.astype(numpy_dtype))
    np.testing.assert_array_equal(table.rows, np.arange(COUNT))
    assert table.labels.equals(LABELS)
    assert len(table) == COUNT
    assert cache.check()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.arrow", "features.json", "labels.parquet"]


def test_the_block_is_one_piece_of_the_mapped_file(tmp_path):
    made(tmp_path)
    before = pa.total_allocated_bytes()
    table = open_features(tmp_path)
    assert pa.total_allocated_bytes() - before < table.features.nbytes + 4096  # labels and metadata
    assert table.features.flags.c_contiguous
    assert not table.features.flags.writeable
    assert pa.ipc.open_file(pa.memory_map(str(tmp_path / FEATURES))).num_record_batches == 1


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_row_is_in_one_chunk_of_one_rank_and_chunks_do_not_depend_on_the_world(tmp_path, world):
    cache = cache_of(tmp_path)
    cache.begin()
    shares = [cache.chunks(rank=rank, world=world) for rank in range(world)]
    rows = [row for share in shares for chunk in share for row in chunk]
    assert sorted(rows) == list(range(COUNT))
    assert sorted((chunk for share in shares for chunk in share), key=lambda c: c.start) == cache.chunks()


@pytest.mark.parametrize("then", [1, 3])
def test_a_killed_extraction_goes_on_with_another_number_of_processes(tmp_path, then):
    cache = cache_of(tmp_path)
    cache.begin()
    first = fill(cache, rank=0, world=2, most=2) + fill(cache, rank=1, world=2, most=1)
    (tmp_path / PARTS / ".chunk-00005.npy.123.tmp").write_bytes(b"torn")  # of the killed process
    with pytest.raises(ValueError, match="3 chunks of features are missing"):
        cache.finish(LABELS)
    with pytest.raises(ValueError, match="run the same `tarpon features` again"):
        open_features(tmp_path)
    again = cache_of(tmp_path)
    assert not again.check()
    again.begin()
    assert not list((tmp_path / PARTS).glob(".*"))
    second = [chunk for rank in range(then) for chunk in fill(again, rank=rank, world=then)]
    assert sorted(row for chunk in [*first, *second] for row in chunk) == list(range(COUNT))
    again.finish(LABELS)
    np.testing.assert_array_equal(open_features(tmp_path).features, VECTORS.astype(np.float16))


def test_a_kill_after_the_block_was_assembled_loses_nothing(tmp_path):
    cache = made(tmp_path)
    whole = (tmp_path / FEATURES).read_bytes()
    (tmp_path / CARD).unlink()  # the kill came just before the card
    cache.begin()
    fill(cache)
    cache.finish(LABELS)
    assert (tmp_path / FEATURES).read_bytes() == whole


def test_a_chunk_of_another_length_is_made_again(tmp_path, monkeypatch):
    cache = cache_of(tmp_path)
    cache.begin()
    fill(cache)
    monkeypatch.setattr(features, "CHUNK_ROWS", 5)
    assert cache.chunks() == [range(5), range(5, 10), range(10, 15), range(15, 20), range(20, 23)]


@pytest.mark.parametrize("begun_only", [True, False])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dim": 6}, "dim=5, asked: 6"),
        ({"transform": {"resize": 224, "mean": (0.5, 0.5)}}, "transform.resize=256, asked: 224"),
        ({"transform": {"resize": 256, "mean": (0.5, 0.4)}}, "transform.mean=[0.5, 0.5], asked: [0.5, 0.4]"),
        ({"l2": True}, "l2=None, asked: True"),
    ],
)
def test_features_of_other_settings_are_refused(tmp_path, change, said, begun_only):
    if begun_only:
        cache_of(tmp_path).begin()
    else:
        made(tmp_path)
    with pytest.raises(ValueError, match="features of other settings") as caught:
        cache_of(tmp_path, **change).check()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    cache_of(tmp_path, versions={"torch": "9"}).check()  # recorded, not compared


def test_vectors_that_the_dtype_cannot_hold_are_refused(tmp_path):
    cache = cache_of(tmp_path)
    cache.begin()
    vectors = np.ones((4, DIM))
    vectors[2, 1] = 1e5
    with pytest.raises(ValueError, match="the vector of row 6 is not finite as fp16"):
        cache.write(range(4, 8), vectors)
    with pytest.raises(ValueError, match=r"wants vectors \(4, 5\), got \(3, 5\)"):
        cache.write(range(4, 8), vectors[:3])
    assert range(4, 8) in cache.chunks()


def test_labels_as_arrays_with_what_is_missing_marked(tmp_path):
    made(tmp_path)
    table = open_features(tmp_path)
    assert table.codes("family", ["c", "b"])[:4].tolist() == [-1, -1, 0, 1]
    assert table.codes("family", ["c", "b"]).dtype == np.int64
    np.testing.assert_array_equal(table.numbers("troph")[:3], np.array([2.5, np.nan, 3], np.float32))
    assert table.flags("habitat", 2)[:3].tolist() == [[1, 0], [-1, -1], [0, 1]]
    with pytest.raises(ValueError, match="habitat must hold 8 values a row"):
        table.flags("habitat", 8)
    assert table.split("test").tolist() == [10, 11, 12, 13, 14]
    with pytest.raises(ValueError, match="'all' must be one of train, val, test"):
        table.split("all")


def test_the_fingerprint_is_that_of_the_vectors(tmp_path):
    made(tmp_path / "a", versions={"torch": "1"})
    made(tmp_path / "b", versions={"torch": "2"})
    made(tmp_path / "c", l2=True)
    prints = [open_features(tmp_path / name).fingerprint() for name in "abc"]
    assert prints[0] == prints[1] != prints[2]


def test_a_damaged_cache_is_told_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"no features.json here; give the folder"):
        open_features(tmp_path)
    made(tmp_path)
    card = json.loads((tmp_path / CARD).read_text())
    unchecked = {name: value for name, value in card.items() if name != "checksums"}
    (tmp_path / CARD).write_text(json.dumps(unchecked | {"count": 9}))
    with pytest.raises(ValueError, match="23 vectors, 23 labels and a card of 9"):
        open_features(tmp_path)
    (tmp_path / FEATURES).write_bytes(b"torn")
    with pytest.raises(ValueError, match="not readable"):
        open_features(tmp_path)
    (tmp_path / CARD).write_text(json.dumps(card | {"version": 9}))
    with pytest.raises(ValueError, match="features of version 9"):
        open_features(tmp_path)


def test_labels_leave_out_places_in_tars():
    names = ["key", "shard", "split", "source", "source_sha256", "jpg_offset", "jpg_size", "jpg_sha256", "family", "body_size"]
    card = {"components": {"jpg": "", "json": ""}}
    manifest = Manifest(root=".", card=card, table=pa.table({name: [0] for name in names}))
    assert select_labels(manifest).column_names == ["key", "split", "source", "family", "body_size"]


def test_first_difference_by_hand():
    assert find_difference({"a": 1, "b": {"c": 2}}, {"b": {"c": 2}, "a": 1}) is None
    assert find_difference({"a": 1}, {"a": 2, "b": 3}) == "a=1, asked: 2"
    assert find_difference({"b": {"c": 2, "d": 1}}, {"b": {"c": 2}}) == "b.d=1, asked: None"
