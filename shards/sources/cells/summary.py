"""What `shards.parquet` tells of a shard's pages, by split: which kinds of page it holds, and how many of each.

A page's kind is all that its choice, its weight and its target hours depend on: pages of one kind are chosen all or none.
"""

import pyarrow as pa
import pyarrow.compute as pc

from tarpon.shards.schema import Summary

# the kinds of a shard in the order they first come, a list a column
KIND = (
    ("label", pa.int8()),
    ("hours", pa.float32()),
    ("onset_hour", pa.float32()),  # NaN: not told
    ("opening", pa.bool_()),  # the first page of a stack
)
PAGES = "pages"  # how many there are of each kind


def summarise(rows: pa.Table) -> dict[str, list]:
    """The kinds of the pages and how many there are of each."""
    count = len(rows)
    onset = rows["onset_hour"] if "onset_hour" in rows.column_names else pa.chunked_array([pa.nulls(count, pa.float32())])
    columns = (rows["label"], rows["hours"], pc.fill_null(onset, float("nan")), pc.equal(rows["page"], 0))
    names = [name for name, _ in KIND]
    found = pa.table(columns, names=names).group_by(names, use_threads=False).aggregate([([], "count_all")])
    return {**{name: found[name].to_pylist() for name in names}, PAGES: found["count_all"].to_pylist()}


SUMMARY = Summary(
    columns=(*((name, pa.list_(kind)) for name, kind in KIND), (PAGES, pa.list_(pa.int32()))),
    make=summarise,
    kinds=("width", "height"),
)
