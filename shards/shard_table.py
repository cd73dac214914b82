"""`shards.parquet`, a line a shard, and beside each tar its rows, `<shard>.parquet`: a set that no process has to hold whole.

A line has the tar's name, its first row and number of rows, how many of these are of each split, size and SHA-256 of the tar,
SHA-256 of the file of its rows; then of each split what the kind's `Summary` says (`train_histogram`). It is written when
packing, before the manifest, and for older sets by `tarpon upgrade`.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.schema import Schema, Summary
from tarpon.shards.store import Store

SHARDS = "shards.parquet"
STEM = "shard-"  # what the names of all tars begin with
BY_SHARD = "by_shard"  # entry of the card, with these entries: of the file, of the manifest's cells, and counts of kinds
SHARDS_SUM, OF_ROWS, KINDS = "sha256", "rows_sha256", "kinds"
DIGEST = pa.binary(32)
COLUMNS = (
    ("shard", pa.string()),  # the tar's name
    ("first", pa.int64()),
    ("rows", pa.int64()),
    *((split, pa.int64()) for split in SPLITS),
    ("bytes", pa.int64()),  # of the tar; at least so many where it has no checksum
    ("sha256", DIGEST),  # of the tar; null in sets of versions that took none
    ("rows_sha256", DIGEST),  # of the file of the rows
)


def write_shard_table(store: Store, table: pa.Table, schema: Schema, *, rows_sum: str) -> dict[str, object]:
    """Write both; returns what they add to the card.

    Args:
        table: the manifest's, with the tars' checksums in its metadata. rows_sum: its `hash_cells`.

    Raises:
        ValueError: the rows of a shard do not lie side by side.
    """
    lines = [*_write_rows(store, table, schema.summary)]
    with store.replace(SHARDS) as draft:
        pq.write_table(pa.Table.from_pylist(lines, schema=line_schema(schema.summary)), draft)
        told = {SHARDS_SUM: hashlib.sha256(draft.read_bytes()).hexdigest(), OF_ROWS: rows_sum}
    keep = {rows_file(line["shard"]) for line in lines}
    for name in store.list_names() or ():
        if name.startswith(STEM) and name.endswith(".parquet") and name not in keep:
            store.remove(name)  # of an earlier writing, of more shards
    return {BY_SHARD: told | ({KINDS: count_kinds(table, schema.summary.kinds)} if schema.summary else {})}


def line_schema(summary: Summary | None) -> pa.Schema:
    """Columns of `shards.parquet`."""
    told = [(f"{split}_{name}", kind) for split in SPLITS for name, kind in (summary.columns if summary else ())]
    return pa.schema([*COLUMNS, *told])


def _write_rows(store: Store, table: pa.Table, summary: Summary | None) -> Iterator[dict[str, object]]:
    """Write the rows of each shard; its line."""
    tars, rows = Manifest(root=store.root, card={}, table=table).tar_sums(), table.replace_schema_metadata(None)
    for name, first, count in cut_by_shard(table["shard"]):
        own = rows.slice(first, count)
        with store.replace(rows_file(name)) as draft:
            pq.write_table(own, draft)
            digest = hashlib.sha256(draft.read_bytes()).digest()
        line = {"shard": name, "first": first, "rows": count, "bytes": tars[name].size, "rows_sha256": digest}
        line["sha256"] = bytes.fromhex(tars[name].sha256) or None
        for split in SPLITS:
            held = own.filter(pc.equal(own["split"], split))
            line[split] = len(held)
            if summary and len(held):
                line |= {f"{split}_{column}": value for column, value in summary.make(held).items()}
        yield line


def cut_by_shard(shards: pa.ChunkedArray) -> list[tuple[str, int, int]]:
    """(name, first row, rows) of each tar in the order of the rows; ValueError where its rows do not lie side by side."""
    coded = pc.dictionary_encode(shards.combine_chunks())
    codes, names = coded.indices.to_numpy(zero_copy_only=False), coded.dictionary.to_pylist()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    if len(starts) != len(names):
        raise ValueError(f"rows of {names[int(codes[starts[len(names)]])]} lie apart in the manifest; pack again")
    counts = np.diff(np.append(starts, len(codes)))
    return list(zip(names, starts.tolist(), counts.tolist(), strict=True))


def count_kinds(table: pa.Table, columns: tuple[str, ...]) -> dict[str, list]:
    """All combinations of values of the columns, each with its number of rows, as JSON."""
    found = table.select(list(columns)).group_by(list(columns), use_threads=False).aggregate([([], "count_all")])
    return {"columns": list(columns), "counts": [list(kind) for kind in zip(*found.to_pydict().values(), strict=True)]}


def rows_file(shard: str) -> str:
    """The file of a tar's rows."""
    return f"{shard.removesuffix('.tar')}.parquet"
