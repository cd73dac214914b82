"""From matched source units to a finished data set: cut into shards, write, split, card, manifest."""

import hashlib
import json
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tarpon.shards import installed
from tarpon.shards.manifest import MANIFEST, Manifest, open_manifest, write_manifest
from tarpon.shards.quarantine import Fault, read_faults, write_faults
from tarpon.shards.schema import VERSION, Schema
from tarpon.shards.split import assign_splits, check_leak
from tarpon.shards.writer import Make, ShardJob, read_parts, write_shards

QUARANTINE = "quarantine.jsonl"
Assign = Callable[[pa.Table], Sequence[str]]  # rows -> the split of each


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How any data set is written and split."""

    out: Path
    split: tuple[float, float, float] = (0.7, 0.15, 0.15)  # shares of train, val, test groups
    seed: int = 0  # of the split
    given: tuple[str, ...] = ()  # splits that the source's own files say: what they share with others is not ours to mend
    workers: int = 1  # processes
    shard_size: int = 16384  # most units of size (frames, images) in a tar


def cut_shards(units: Sequence, *, shard_size: int, shards: int = 8) -> list[tuple]:
    """Runs of whole units, at most `shard_size` each (or one unit), about `shards` of them where the set is small.

    Depends on the data alone, so another number of workers gives the same tars.
    """
    total = sum(unit.size() for unit in units)
    limit = min(shard_size, -(-total // shards))
    runs, held = [[]], 0
    for unit in units:
        if runs[-1] and held + unit.size() > limit:
            runs.append([])
            held = 0
        runs[-1].append(unit)
        held += unit.size()
    return [tuple(run) for run in runs]


def pack(
    units: Sequence,
    faults: Sequence[Fault],
    *,
    make: Make,
    schema: Schema,
    settings: str,
    packing: Packing,
    histogram: Callable[[pa.Table], np.ndarray] | None = None,
    assign: Assign | None = None,
    card: dict | Callable[[pa.Table], dict],
    executor: Executor | None = None,
    progress: bool = True,
) -> tuple[Manifest | None, list[Fault]]:
    """Write a data set; run again after a kill it finishes the work and leaves alone what was done.

    Args:
        units: source units in order; faults: what scanning already found.
        histogram: rows -> (rows, C) label counts, for `by_group`; or give
        assign: rows -> their splits. Where `make` gave a sample its split, the rows hold it.
        card: the kind's own entries of the dataset card, or rows -> them.

    Returns:
        The opened manifest, or None when no sample could be packed, and every fault.

    Raises:
        ValueError: `out` holds a finished data set of other sources or settings.
    """
    out = packing.out
    wanted = json.dumps(
        {
            "source": json.loads(settings),
            "split": packing.split,
            "seed": packing.seed,
            "units": [unit.fingerprint() for unit in units],
        },
        sort_keys=True,
    )
    if (out / MANIFEST).exists():
        done = open_manifest(out)
        if done.card.get("made_from") != _digest(wanted):
            raise ValueError(f"{out} holds a data set of other files or settings; choose another --out or delete it")
        return done, sorted({*faults, *read_faults(out / QUARANTINE)}, key=str)
    if not units:
        return None, list(faults)
    jobs = [
        ShardJob(name=f"shard-{i:05d}", units=run, make=make, schema=schema, out=str(out), settings=settings)
        for i, run in enumerate(cut_shards(units, shard_size=packing.shard_size))
    ]
    _remove_stale(out, {job.name for job in jobs})
    write_shards(jobs, workers=packing.workers, executor=executor, progress=progress)
    table, found = read_parts(jobs)
    _check_keys(table["key"])
    faults = sorted([*faults, *found], key=str)
    if not len(table):
        write_faults(out / QUARANTINE, faults)
        return None, faults
    table = _split(table, assign or by_group(histogram, packing), given=packing.given)
    write_faults(out / QUARANTINE, faults)
    own = {
        "made_from": _digest(wanted),
        "settings": json.loads(settings),
        "shards": len(jobs),
        "split": _told(table, packing),
        "quarantined": len(faults),
    }
    write_manifest(out, table, _card(table, schema) | own | (card(table) if callable(card) else card))
    shutil.rmtree(out / "parts")
    return open_manifest(out), faults


def _card(table: pa.Table, schema: Schema) -> dict:
    """What the dataset card says of the rows themselves."""
    return {
        "kind": schema.kind,
        "schema_version": VERSION,
        "components": {component.name: component.holds for component in schema.components},
        "samples": len(table),
        "splits": dict(Counter(table["split"].to_pylist())),
        "sources_sha256": _digest("".join(sorted(set(table["source_sha256"].to_pylist())))),
        "versions": versions(),
    }


def _remove_stale(out: Path, names: set[str]) -> None:
    """Shards that an unfinished packing of other files or settings left: a folder with parts and no manifest is ours."""
    if (out / "parts").is_dir():
        for path in [*out.glob("shard-*.tar"), *out.glob("shard-*.idx"), *(out / "parts").glob("shard-*.parquet")]:
            if path.stem not in names:
                path.unlink()


def _check_keys(keys: pa.ChunkedArray) -> None:
    counts = keys.value_counts()
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise ValueError(
            f"two samples have the key {twice.field('values')[0]}: source names differ only in signs "
            f"that a key may not hold; rename one"
        )


def by_group(histogram: Callable[[pa.Table], np.ndarray], packing: Packing) -> Assign:
    """The usual split: whole groups, stratified by their labels, in the shares of `packing`."""

    def assign(table: pa.Table) -> list[str]:
        groups = table["group"].to_pylist()
        counts: dict[str, np.ndarray] = {}
        for group, row in zip(groups, histogram(table), strict=True):
            counts[group] = counts.get(group, 0) + row
        split = assign_splits(counts, ratios=packing.split, seed=packing.seed)
        return [split[group] for group in groups]

    return assign


def _split(table: pa.Table, assign: Assign, *, given: Sequence[str]) -> pa.Table:
    splits = assign(table)
    check_leak(table["group"].to_pylist(), splits, given=given)
    return table.set_column(table.column_names.index("split"), "split", pa.array(splits, pa.string()))


def _told(table: pa.Table, packing: Packing) -> dict:
    """What the card says of the split."""
    told = {"ratios": packing.split, "seed": packing.seed, "groups": len(set(table["group"].to_pylist()))}
    return told | ({"given": packing.given} if packing.given else {})


def versions() -> dict[str, str | None]:
    return {
        "python": platform.python_version(),
        **installed.versions(("tarpon", "numpy", "pyarrow", "webdataset", "av", "pillow")),
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
