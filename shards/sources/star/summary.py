"""What `shards.parquet` tells of a shard's photographs, by split: which animals, and how many photographs of each."""

import pyarrow as pa

from tarpon.shards.schema import Summary

# animals of a shard in the order they first come, a list a column
KIND = (
    ("identity", pa.string()),
    ("distractor", pa.bool_()),  # of an animal with one session
    ("novel", pa.bool_()),  # of one that is in no gallery
)
IMAGES = "images"  # how many there are of each


def summarise(rows: pa.Table) -> dict[str, list]:
    """The animals and how many photographs there are of each."""
    names = [name for name, _ in KIND]
    found = rows.select(names).group_by(names, use_threads=False).aggregate([([], "count_all")])
    return {**{name: found[name].to_pylist() for name in names}, IMAGES: found["count_all"].to_pylist()}


SUMMARY = Summary(
    columns=(*((name, pa.list_(kind)) for name, kind in KIND), (IMAGES, pa.list_(pa.int32()))),
    make=summarise,
)
