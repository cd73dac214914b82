"""What `tarpon lint` proves of `shards.parquet` and the rows of each shard: that they say what the manifest says."""

from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq

from tarpon.shards.arrow_input import open_bytes
from tarpon.shards.fingerprint import hash_cells
from tarpon.shards.lazy_manifest import LazyManifest, open_lazily
from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.schema import Schema
from tarpon.shards.shard_table import BY_SHARD, KINDS, OF_ROWS, SHARDS, line_schema, rows_file
from tarpon.shards.store import Store
from tarpon.tools.lint_checks import WhereWhat
from tarpon.tools.lint_listing import Listing


def tell_lacking(manifest: Manifest, schema: Schema) -> list[str]:
    """A line on what a training with `plan=shards` needs and an earlier version did not write; none where all is there."""
    told, mend = manifest.card.get(BY_SHARD), f"`tarpon upgrade {manifest.root}`"
    store = manifest.store or Store(manifest.root)
    if not isinstance(told, dict) or not store.has(SHARDS):
        return [f"no {SHARDS}, which --plan shards needs; {mend} writes it"]
    if told.get(OF_ROWS) != manifest.fingerprint():
        return [f"{SHARDS} is of another manifest, and --plan shards refuses it; {mend} writes it anew"]
    there, summary = pq.read_schema(open_bytes(store.read(SHARDS))).names, schema.summary
    lacking = [name for name in line_schema(summary).names if name not in there]
    counted = told.get(KINDS, {}).get("columns", [])
    lacking += [f"counts of {name} in the card" for name in (summary.kinds if summary else ()) if name not in counted]
    return [f"{SHARDS} lacks {', '.join(lacking)}, which --plan shards needs; {mend} adds them"] if lacking else []


def check_shard_table(listing: Listing) -> Iterator[WhereWhat]:
    """Nothing of a set without such files, or with those of another manifest, which no training opens."""
    told = listing.manifest.card.get(BY_SHARD)
    if not isinstance(told, dict) or told.get(OF_ROWS) != listing.manifest.fingerprint():
        return
    try:
        lazy = open_lazily(listing.manifest.root)
    except ValueError as error:
        yield SHARDS, str(error)
        return
    if len(lazy) != len(listing.manifest):
        yield SHARDS, f"counts {len(lazy)} rows, the manifest has {len(listing.manifest)}"
        return
    lines = lazy.read_lines()
    for shard, name in enumerate(lazy.tars):
        yield from _check_shard(listing, lazy, shard, name, line=lines.slice(shard, 1).to_pylist()[0])


def _check_shard(listing: Listing, lazy: LazyManifest, shard: int, name: str, *, line: dict) -> Iterator[WhereWhat]:
    want = listing.manifest.table.slice(lazy.first_row(shard), line["rows"]).replace_schema_metadata(None)
    try:
        if hash_cells(lazy.open_rows(shard).read()) != hash_cells(want):
            yield rows_file(name), "holds other rows than the manifest"
            return
    except ValueError as error:
        yield rows_file(name), str(error)
        return
    splits = want["split"].to_pylist()
    summary, told = listing.schema.summary, {split: splits.count(split) for split in SPLITS}
    for split in (split for split in SPLITS if summary and told[split]):
        own = want.filter([name == split for name in splits])
        told |= {f"{split}_{column}": value for column, value in summary.make(own).items()}
    for column, value in told.items():
        # a version that wrote no such column is no damage: what needs it says so when it opens the set
        if column in line and not _agree(line[column], value):
            yield SHARDS, f"{name}: {column} is {line[column]}, the rows come to {value}"


def _agree(told: object, found: object) -> bool:
    """Whether two numbers, words or lists of such are the same; sums of shares are as exact as the machine adds."""
    one, other = np.asarray(told), np.asarray(found)
    if one.shape != other.shape or one.dtype.kind not in "biuf" or other.dtype.kind not in "biuf":
        return told == found
    return bool(np.allclose(one, other, rtol=1e-9, atol=0, equal_nan=True))
