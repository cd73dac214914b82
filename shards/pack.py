"""Packs source units to a finished data set: cut into shards, write, split, card, manifest."""

import hashlib
import json
import platform
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarpon.shards import installed
from tarpon.shards.fingerprint import hash_cells
from tarpon.shards.manifest import MANIFEST, TAR_SUMS, Manifest, open_manifest, write_manifest
from tarpon.shards.packing_lock import hold_packing
from tarpon.shards.quarantine import Fault, format_faults, parse_faults
from tarpon.shards.schema import VERSION, Schema
from tarpon.shards.shard_table import write_shard_table
from tarpon.shards.source import Scan, Source
from tarpon.shards.split import assign_splits, check_leak
from tarpon.shards.store import NotThere, Store
from tarpon.shards.writer import DUPLICATE_KEY, PARTS, ShardJob, read_parts, read_tar_sums, write_shards

QUARANTINE = "quarantine.jsonl"
SHARD_FILE = re.compile(r"(?:parts/)?(shard-[^/]*)\.(?:tar|idx|parquet)")


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Options of writing and splitting that are common to all kinds of data sets."""

    out: Path | str  # folder or URL
    split: tuple[float, float, float] = (0.7, 0.15, 0.15)  # shares of train, val, test groups
    seed: int = 0  # of the split
    given: tuple[str, ...] = ()  # splits defined by the source's own files: not checked for leaks
    workers: int = 1  # processes
    shard_size: int = 16384  # most units of size (frames, images) in a tar


def cut_shards(units: Sequence, *, shard_size: int, shards: int = 8) -> list[tuple]:
    """Consecutive units for each shard: at most `shard_size` in size (or one unit), about `shards` runs in a small data set.

    Depends on the data only, so that any number of workers gives the same tars.
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


class PackingError(ValueError):
    """The samples are written and cannot be split or described; `faults` is what was kept out, which may be the reason."""

    def __init__(self, message: str, *, faults: Sequence[Fault]) -> None:
        super().__init__(message)
        self.faults = list(faults)


def pack(
    source: Source,
    found: Scan,
    *,
    options: object,
    packing: Packing,
    executor: Executor | None = None,
    progress: bool = True,
) -> tuple[Manifest | None, list[Fault]]:
    """Write a data set; after an interruption, call it again to finish the rest.

    Args:
        source: the kind of folder.
        found: the result of its `scan`.
        options: the source's own dataclass of all that determines the samples.

    Returns:
        The opened manifest, or None when no sample could be packed, and every fault. Faults are in `quarantine.jsonl` too.

    Raises:
        ValueError: `out` holds a finished data set of other sources or settings, another packing is going on in it, or some
            shards could not be made.
        PackingError: the samples cannot be split or described; the faults are written before.
    """
    out, settings = Store(packing.out), json.dumps(asdict(options), sort_keys=True)
    out.check_writable()
    made_from = _hash_inputs(found, packing, settings)
    if out.has(MANIFEST):
        done = open_manifest(out.root)
        if done.card.get("made_from") != made_from:
            raise ValueError(f"{out.root} holds a data set of other files or settings; choose another --out or delete it")
        return done, sorted({*found.faults, *_read_quarantine(out)}, key=str)
    if not found.units:
        return None, _write_quarantine(out, found.faults)
    with hold_packing(out.folder):
        if out.has(MANIFEST):
            raise ValueError(f"{out.root}: another packing finished it this moment; run the same command again")
        return _write_set(source, found, options=options, packing=packing, executor=executor, progress=progress)


def _write_set(
    source: Source,
    found: Scan,
    *,
    options: object,
    packing: Packing,
    executor: Executor | None,
    progress: bool,
) -> tuple[Manifest | None, list[Fault]]:
    """The data set of a folder that is this process's alone; as `pack`."""
    out, settings = Store(packing.out), json.dumps(asdict(options), sort_keys=True)
    jobs = [
        ShardJob(
            name=f"shard-{i:05d}", units=run, make=source.make, schema=source.schema, out=out.root, settings=settings,
            ready=source.ready, single=executor is not None or packing.workers > 1,
        )
        for i, run in enumerate(cut_shards(found.units, shard_size=packing.shard_size))
    ]  # fmt: skip
    _remove_stale(out, {job.name for job in jobs})
    how = {"workers": packing.workers, "executor": executor, "progress": progress}
    jobs, table, new_faults = _make_shards(jobs, source, **how)
    faults = _write_quarantine(out, [*found.faults, *new_faults])
    if not len(table):
        return None, faults
    try:
        table = _set_splits(table, source.assign(table, options=options, packing=packing), given=packing.given)
        described = source.describe(table, found=found, options=options)
    except ValueError as error:
        raise PackingError(str(error), faults=faults) from error
    faults = _write_quarantine(out, [*faults, *source.find_near_copies(table)])
    own = {
        "made_from": _hash_inputs(found, packing, settings),
        "settings": json.loads(settings),
        "shards": len(jobs),
        "split": _describe_split(table, packing),
        "quarantined": sum(not fault.packed for fault in faults),
    }
    table = table.replace_schema_metadata({TAR_SUMS: json.dumps(read_tar_sums(jobs))})
    rows_sum = hash_cells(table)
    own |= write_shard_table(out, table, source.schema, rows_sum=rows_sum)
    write_manifest(out.root, table, _describe_rows(table, source.schema) | own | described, rows_sum=rows_sum)
    out.remove(PARTS)
    return open_manifest(out.root), faults


def _hash_inputs(found: Scan, packing: Packing, settings: str) -> str:
    """Hash of all that determines a data set: options (JSON), split and units."""
    inputs = {
        "source": json.loads(settings),
        "split": packing.split,
        "seed": packing.seed,
        "units": [unit.fingerprint() for unit in found.units],
    }
    return _hash_text(json.dumps(inputs, sort_keys=True))


def _read_quarantine(out: Store) -> list[Fault]:
    """The faults of a finished set."""
    try:
        return parse_faults(out.read(QUARANTINE).decode())
    except NotThere:
        return []


def _write_quarantine(out: Store, faults: Sequence[Fault]) -> list[Fault]:
    """Write all faults to `quarantine.jsonl`, sorted, before anything else can fail; returns them sorted."""
    faults = sorted(faults, key=str)
    if out.folder is not None and faults:
        out.folder.mkdir(parents=True, exist_ok=True)
    if out.folder is None or out.folder.is_dir():
        out.write(QUARANTINE, format_faults(faults).encode())
    return faults


def _make_shards(jobs: list[ShardJob], source: Source, **how: object) -> tuple[list[ShardJob], pa.Table, list[Fault]]:
    """Make all shards; returns jobs, rows and faults. Shards with samples that cannot stay beside others are made again.

    Of samples with one key the first stays; of samples with equal pixels those that the source keeps.
    """
    write_shards(jobs, **how)
    table, faults = read_parts(jobs)
    for find in (_find_duplicate_keys, source.find_copies):
        again: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for row, reason in (find(table) if len(table) else {}).items():
            again[table["shard"][row].as_py()].append((table["key"][row].as_py(), reason))
        if again:
            jobs = [replace(job, excluded=job.excluded + tuple(again.get(f"{job.name}.tar", ()))) for job in jobs]
            write_shards(jobs, **how)
            table, faults = read_parts(jobs)
    return jobs, table, faults


def _find_duplicate_keys(table: pa.Table) -> dict[int, str]:
    """Row -> reason of samples whose key one in an earlier shard has."""
    held: dict[str, str] = {}
    pairs = enumerate(zip(table["key"].to_pylist(), table["shard"].to_pylist(), strict=True))
    return {row: DUPLICATE_KEY.format(key=key) for row, (key, shard) in pairs if held.setdefault(key, shard) != shard}


def _describe_rows(table: pa.Table, schema: Schema) -> dict:
    """The card's entries on the rows themselves."""
    return {
        "kind": schema.kind,
        "schema_version": VERSION,
        "components": {component.name: component.holds for component in schema.components},
        "samples": len(table),
        "splits": dict(Counter(table["split"].to_pylist())),
        "sources_sha256": _hash_text("".join(sorted(set(table["source_sha256"].to_pylist())))),
        "versions": collect_versions(),
    }


def _remove_stale(out: Store, names: set[str]) -> None:
    """Remove shards that an unfinished packing of other files or settings left; a folder with parts and no manifest is such."""
    parts = [f"{PARTS}/{name}" for name in out.list_names(PARTS)]
    if parts:
        for name in [*out.list_names(), *parts]:
            made = SHARD_FILE.fullmatch(name)
            if made and made[1] not in names:
                out.remove(name)


def split_by_group(rows: pa.Table, counts: np.ndarray, *, packing: Packing) -> list[str]:
    """The split of every row: whole groups, stratified by their labels, in the shares of `packing`.

    Args:
        rows: with a `group` column.
        counts: (rows, C) labels of each class in each row.
    """
    groups = rows["group"].to_pylist()
    sums: dict[str, np.ndarray] = {}
    for group, row in zip(groups, counts, strict=True):
        sums[group] = sums.get(group, 0) + row
    split = assign_splits(sums, ratios=packing.split, seed=packing.seed)
    return [split[group] for group in groups]


def _set_splits(table: pa.Table, splits: Sequence[str], *, given: Sequence[str]) -> pa.Table:
    check_leak(table["group"].to_pylist(), splits, given=given)
    return table.set_column(table.column_names.index("split"), "split", pa.array(splits, pa.string()))


def _describe_split(table: pa.Table, packing: Packing) -> dict:
    """The card's entry on the split."""
    entry = {"ratios": packing.split, "seed": packing.seed, "groups": len(set(table["group"].to_pylist()))}
    return entry | ({"given": packing.given} if packing.given else {})


def collect_versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that packing depends on."""
    return {
        "python": platform.python_version(),
        **installed.find_versions(("tarpon", "numpy", "pyarrow", "webdataset", "av", "pillow")),
    }


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
