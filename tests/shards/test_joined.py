"""JoinedDatasets: each part's own rows, numbered one part after the other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tarpon.pipelines.feed import Feed
from tarpon.pipelines.image.feed import ImageFields, ImageRequest
from tarpon.shards.joined import JoinedDatasets
from tarpon.shards.quarantine import BadSample, Budget
from tarpon.shards.reader import Reader


@pytest.fixture
def parts(toy_shards, tmp_path):
    manifests = (toy_shards(tmp_path / "one", count=5), toy_shards(tmp_path / "two", count=3))
    return tuple((manifest, Reader(manifest)) for manifest in manifests)


def test_rows_follow_each_other(parts):
    joined = JoinedDatasets(parts)
    (first, reader), (second, other) = parts
    np.testing.assert_array_equal(joined.offsets, [0, 10, 16])
    assert len(joined) == 16
    assert [joined.find_part(row) for row in (0, 9, 10, 15)] == [0, 0, 1, 1]
    for row in range(16):
        manifest, bytes_of, inside = (first, reader, row) if row < 10 else (second, other, row - 10)
        assert joined.read(row, "text") == bytes_of.read(inside, "text")
        assert joined.value(row, "number") == manifest.value(inside, "number")
        assert joined.value(np.int64(row), "key") == f"{manifest.root}:{manifest.value(inside, 'key')}"


def test_columns_are_concatenated_and_agree_with_values(parts):
    joined = JoinedDatasets(parts)
    for name in ("number", "group", "key"):
        assert joined.column(name).tolist() == [joined.value(row, name) for row in range(16)]
    assert len(set(joined.column("key"))) == 16  # though both parts have the key u0-0


def test_rows_outside_are_refused(parts):
    for row in (-1, 16):
        with pytest.raises(IndexError, match=f"row {row} is not among the 16 rows"):
            JoinedDatasets(parts).value(row, "key")
    with pytest.raises(ValueError, match="no data sets"):
        JoinedDatasets([])


def test_a_part_without_the_column_or_with_another_type_is_named(parts):
    (first, reader), (second, other) = parts
    poor = replace(second, table=second.table.drop_columns(["number"]))
    joined = JoinedDatasets([(first, reader), (poor, other)])
    assert joined.value(0, "number") == 0
    for ask in (lambda: joined.column("number"), lambda: joined.value(12, "number")):
        with pytest.raises(ValueError, match=f"{second.root}: no column 'number'"):
            ask()
    at = second.table.schema.get_field_index("number")
    text = replace(second, table=second.table.set_column(at, "number", second.table["number"].cast("string")))
    with pytest.raises(ValueError, match=f"{second.root}: column 'number' is string, in {first.root} int32"):
        JoinedDatasets([(first, reader), (text, other)]).column("number")


def test_a_bad_sample_names_the_root(parts):
    second = parts[1][0]
    (Path(second.root) / second.value(2, "shard")).unlink()
    with pytest.raises(BadSample) as caught:
        JoinedDatasets(parts).read(12, "text")
    assert caught.value.fault.file == f"{second.root}/{second.value(2, 'shard')}:{second.value(2, 'key')}"
    assert str(caught.value).startswith(second.root)


def test_the_fingerprint_knows_parts_and_their_order(parts):
    one, two = parts
    prints = [JoinedDatasets(given).fingerprint() for given in ((one, two), (two, one), (one,), (one, two))]
    assert prints[0] == prints[3]
    assert len(set(prints)) == 3


def test_the_image_feed_takes_it_for_one_data_set(parts):
    """A bad row of the first part is stood in for by the next row, one of the second part."""
    joined = JoinedDatasets(parts)
    first, second = parts[0][0], parts[1][0]
    shard = Path(first.root) / first.value(9, "shard")
    shard.write_bytes(shard.read_bytes()[: first.value(9, "text_offset")])
    budget = Budget(limit=1)
    fields = ImageFields(column="text", mean=(0.0,), std=(1.0,))
    feed = Feed(joined, joined, fields, pool=np.array([3, 9, 11]), budget=budget)
    (batch,) = feed.batches([[ImageRequest(row=3), ImageRequest(row=9)]])
    assert [int(row) for row in batch["row"]] == [3, 11]
    assert batch["image"][1].tobytes() == parts[1][1].read(1, "text")
    assert budget.faults[0].file.startswith(f"{first.root}/")
    assert not budget.faults[0].file.startswith(second.root)
