"""`tarpon lint`: prove that a packed data set is what its manifest says, byte for byte and frame for frame."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from json import dumps

from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.progress import Progress
from tarpon.shards.reader import Reader
from tarpon.shards.tar_cache import CACHE_BYTES, Cache
from tarpon.tools.lint_checks import LISTING_CHECKS, Finding, Kind, check_columns, read_sample
from tarpon.tools.lint_copies import check_copies, list_copies
from tarpon.tools.lint_features import examine_features, is_features
from tarpon.tools.lint_listing import list_tars
from tarpon.tools.lint_shards import check_shard_table, tell_lacking
from tarpon.tools.tasks import part_of_kind

CHUNK = 8  # samples of a job, at least
CHUNKS = 32  # jobs of a process, at most: each opens the manifest
SHOWN = 20  # findings of one check that are printed


def lint(shards: str, *, workers: int | None = None, cache: Cache | None = None) -> list[Finding]:
    """Everything that is wrong with a packed data set; empty when it is sound.

    Args:
        shards: folder that `tarpon pack` wrote, or its URL.
        workers: processes that read and decode; unset takes one a usable core.
        cache: for tars of a URL.

    Raises:
        ValueError: there is no readable manifest, or it is of a kind that lint does not know.
    """
    checks = examine_features(shards)[2] if is_features(shards) else _examine(_open(shards, cache), workers=workers)
    return [finding for findings in checks.values() for finding in findings]


def run(shards: str, *, json: bool = False, cache: str | None = None, cache_bytes: int = CACHE_BYTES) -> int:
    """Check a packed data set or a feature cache and print what was found.

    Args:
        shards: folder that `tarpon pack` or `tarpon features` wrote; of shards also a URL.
        json: print one JSON object instead of the table.
        cache: folder for fetched tars, of shards at a URL.
        cache_bytes: most bytes that it may hold.

    Returns:
        0 when nothing was found, else 1.
    """
    if is_features(shards):
        kind, samples, checks = examine_features(shards)
        notes = []
    else:
        manifest = _open(shards, Cache.of(cache, cache_bytes))
        kind, samples, checks = manifest.card["kind"], len(manifest), _examine(manifest)
        notes = list_notes(manifest)
    if json:
        print(
            dumps(
                {
                    "shards": shards,
                    "samples": samples,
                    "ok": not any(checks.values()),
                    "notes": notes,
                    "checks": {
                        name: {"ok": not found, "findings": [{"where": f.where, "what": f.what} for f in found]}
                        for name, found in checks.items()
                    },
                },
                indent=2,
            )
        )
    else:
        print("\n".join(_table(shards, kind, samples, checks, notes)))
    return int(any(checks.values()))


def _open(shards: str, cache: Cache | None) -> Manifest:
    manifest = open_manifest(shards, cache=cache)
    checks_of(manifest)
    return manifest


def list_notes(manifest: Manifest) -> list[str]:
    """Near copies, and of a data set of an earlier version what it lacks and what no check can tell of it."""
    kind = checks_of(manifest)
    notes = [*list_copies(manifest, kind), *tell_lacking(manifest, kind.schema)]
    if manifest.remark is None:
        return notes
    unprovable = [kind.unprovable] if kind.unprovable else []
    return ["packed by an earlier Tarpon, without a checksum of the manifest", *unprovable, *notes]


def checks_of(manifest: Manifest) -> Kind:
    """What must hold of this kind of data set; ValueError where no task packs such."""
    return part_of_kind(manifest.card.get("kind"), "lint", where=str(manifest.root))


def _examine(manifest: Manifest, *, workers: int | None = None) -> dict[str, list[Finding]]:
    """Findings by check, in the order of checking; where the columns are wrong, no other check is made."""
    kind = checks_of(manifest)
    found = {
        "columns": [
            Finding(check="columns", where=where, what=what)
            for where, what in check_columns(manifest, kind.schema, nullable=kind.nullable)
        ]
    }
    if found["columns"]:
        return found
    listing = list_tars(manifest, kind.schema)
    for name, check in LISTING_CHECKS.items():
        found[name] = [Finding(check=name, where=where, what=what) for where, what in check(listing)]
    found["shards"] = [Finding(check="shards", where=where, what=what) for where, what in check_shard_table(listing)]
    found["copies"] = [
        Finding(check="copies", where=where, what=what) for where, what in check_copies(listing, label=kind.label)
    ]
    rows = [row for row, shard in enumerate(manifest.table["shard"].to_pylist()) if shard not in listing.missing]
    found |= {name: [] for name in ("checksums", *kind.checks)}
    for finding in _samples(manifest, rows, workers=workers or len(os.sched_getaffinity(0))):
        found[finding.check].append(finding)
    return {name: sorted(findings) for name, findings in found.items()}


def _samples(manifest: Manifest, rows: Sequence[int], *, workers: int) -> Iterator[Finding]:
    """Findings of every sample, from a pool of processes: reading, hashing and decoding are the slow part."""
    chunk = max(CHUNK, len(rows) // (workers * CHUNKS))
    chunks = [rows[i : i + chunk] for i in range(0, len(rows), chunk)]
    workers = min(workers, len(chunks))
    with Progress(len(rows), what="lint", unit="samples") as bar:
        if workers <= 1:
            for part in chunks:
                yield from check_samples(manifest.root, part, cache=manifest.cache)
                bar.update(len(part))
            return
        # spawn: the caller may hold threads, which do not survive a fork
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            pending = {pool.submit(check_samples, manifest.root, part, cache=manifest.cache): part for part in chunks}
            for done in as_completed(pending):
                yield from done.result()
                bar.update(len(pending[done]))


def check_samples(shards: str, rows: Sequence[int], *, cache: Cache | None = None) -> list[Finding]:
    """Findings of some rows. A sample whose checksums differ is not checked further."""
    manifest = open_manifest(shards, cache=cache)
    kind = checks_of(manifest)
    reader, found = Reader(manifest, verify=False), []
    try:
        for row in rows:
            sample, wrong = read_sample(manifest, reader, kind.schema, row)
            where = f"{sample.row['shard']}:{sample.key}"
            found += [Finding(check="checksums", where=where, what=what) for what in wrong]
            required = {component.name for component in kind.schema.components if not component.optional}
            if wrong or not required <= set(sample.files):
                continue
            for name, check in kind.checks.items():
                found += [Finding(check=name, where=where, what=what) for what in check(sample)]
    finally:
        reader.close()
    return found


def _table(shards: str, kind: str, samples: int, checks: dict[str, list[Finding]], notes: list[str]) -> Iterator[str]:
    yield f"{shards}: {kind}, {samples} samples"
    for name, found in checks.items():
        yield f"  {name:<12} {f'{len(found)} finding' + 's' * (len(found) != 1) if found else 'ok'}"
        yield from (f"    {finding}" for finding in found[:SHOWN])
        if len(found) > SHOWN:
            yield f"    and {len(found) - SHOWN} more"
    yield from (f"note: {note}" for note in notes)
    total = sum(map(len, checks.values()))
    yield f"{total} finding{'s' * (total != 1)}: copy the data set again, or pack it again" if total else "sound"
