"""Manifests made up for `tarpon bench plan`: rows without any tar. Every shard holds rows of one split."""

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tarpon.shards.manifest import write_card, write_manifest
from tarpon.shards.schema import VERSION, Component, Schema
from tarpon.shards.shard_table import (
    BY_SHARD,
    KINDS,
    OF_ROWS,
    SHARDS,
    SHARDS_SUM,
    line_schema,
    rows_file,
    write_shard_table,
)
from tarpon.shards.store import Store

IMAGES = Schema(kind="images", components=(Component(name="jpg", holds="nothing"),), columns=(("label", pa.int32()),))
GROUP_ROWS = 100  # rows of an animal or a stack
TRAIN_SHARE = 0.7  # of the shards; the rest is half validation, half test
BYTES = 224  # what every number of a row is, where nothing else is drawn


@dataclass(frozen=True, kw_only=True)
class DrawnRows:
    """What the rows of a made-up set hold."""

    schema: Schema = IMAGES
    draw: Callable[[int, int], Mapping[str, pa.Array]] = lambda shard, count: {}  # columns of a shard beside constants
    card: Mapping[str, object] = field(default_factory=dict)  # what the kind's card says beside what every card says
    distinct: bool = False  # no two shards alike, where a set is written by shards: each has a file of its own


def split_of(shard: int, shards: int) -> str:
    """The split that a shard's rows are of."""
    place = (shard + 0.5) / shards
    return "train" if place < TRAIN_SHARE else "val" if place < (1 + TRAIN_SHARE) / 2 else "test"


def make_rows(drawn: DrawnRows, *, shard: int, shards: int, first: int, count: int) -> pa.Table:
    """The manifest's rows of one shard."""
    number, schema = np.arange(first, first + count), drawn.schema.arrow()
    constants = {pa.string(): hashlib.sha256(b"").hexdigest()}
    known = {
        "key": pa.array(np.char.mod("k%d", number)),
        "shard": pa.repeat(f"shard-{shard:05d}.tar", count),
        "group": pa.array(np.char.mod("g%d", number // GROUP_ROWS)),
        "split": pa.repeat(split_of(shard, shards), count),
        **drawn.draw(shard, count),
    }
    columns = [known.get(name, pa.repeat(constants.get(kind, BYTES), count)) for name, kind in _fields(schema)]
    return pa.table([made.cast(kind) for made, (_, kind) in zip(columns, _fields(schema), strict=True)], schema=schema)


def _fields(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return list(zip(schema.names, schema.types, strict=True))


def make_card(drawn: DrawnRows, *, rows: int, shards: int) -> dict:
    """What a manifest's card must say to be opened and planned."""
    return {
        "kind": drawn.schema.kind,
        "schema_version": VERSION,
        "samples": rows,
        "shards": shards,
        "quarantined": 0,
        "split": {"groups": rows // GROUP_ROWS},
        **drawn.card,
    }


def write_set(out: Path, drawn: DrawnRows, *, rows: int, shards: int) -> None:
    """A folder with a manifest and a card, and no tars."""
    out.mkdir(parents=True)
    firsts = np.linspace(0, rows, shards + 1).astype(int).tolist()
    parts = [
        make_rows(drawn, shard=shard, shards=shards, first=first, count=end - first)
        for shard, (first, end) in enumerate(itertools.pairwise(firsts))
    ]
    write_manifest(out, pa.concat_tables(parts), make_card(drawn, rows=rows, shards=shards))


def write_set_by_shard(out: Path, drawn: DrawnRows, *, rows: int, shards: int) -> None:
    """A folder with `shards.parquet` and a card, and no manifest and tars; the shards of a split share one file of rows, but
    where no two may be alike."""
    out.mkdir(parents=True)
    count, lines, kinds = rows // shards, [], {}
    first = _first(shards)
    like = [shard if drawn.distinct else first[split_of(shard, shards)] for shard in range(shards)]
    samples = {
        shard: _write_sample(out / f"like-{shard}", drawn, shard=shard, shards=shards, count=count) for shard in sorted({*like})
    }
    for shard, other in enumerate(like):
        name, (line, counted) = f"shard-{shard:05d}.tar", samples[other]
        lines.append(line | {"shard": name, "first": shard * count})
        (out / rows_file(name)).symlink_to(Path(f"like-{other}") / rows_file(line["shard"]))
        for *kind, number in counted.get("counts", ()):
            kinds[tuple(kind)] = kinds.get(tuple(kind), 0) + number
    pq.write_table(pa.Table.from_pylist(lines, schema=line_schema(drawn.schema.summary)), out / SHARDS)
    digest = hashlib.sha256((out / SHARDS).read_bytes()).hexdigest()
    told = {SHARDS_SUM: digest, OF_ROWS: digest}
    if summary := drawn.schema.summary:
        told[KINDS] = {"columns": list(summary.kinds), "counts": [[*kind, number] for kind, number in kinds.items()]}
    write_card(Store(out), make_card(drawn, rows=count * shards, shards=shards) | {BY_SHARD: told})


def _first(shards: int) -> dict[str, int]:
    """The first shard of each split."""
    return {split_of(shard, shards): shard for shard in reversed(range(shards))}


def _write_sample(out: Path, drawn: DrawnRows, *, shard: int, shards: int, count: int) -> tuple[dict, dict]:
    """Write one shard's rows as packing does; its line of `shards.parquet` and the kinds of its rows."""
    out.mkdir()
    table = make_rows(drawn, shard=shard, shards=shards, first=shard * count, count=count)
    told = write_shard_table(Store(out), table, drawn.schema, rows_sum="")[BY_SHARD]
    return pq.read_table(out / SHARDS).to_pylist()[0], told.get(KINDS, {})
