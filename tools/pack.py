"""`tarpon pack KIND`: a lab's raw folder into shards, with a table of what was packed and what was not."""

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa

from tarpon.shards.manifest import Manifest
from tarpon.shards.pack import QUARANTINE, Packing, PackingError, pack
from tarpon.shards.quarantine import Fault, group_by_reason
from tarpon.shards.remote_units import scan_places
from tarpon.shards.scratch import SCRATCH_BYTES, Scratch
from tarpon.shards.source import Scan, Source
from tarpon.tools.cluster import open_cluster
from tarpon.tools.pack_speed import Stopwatch
from tarpon.tools.pack_trial import tell_trial
from tarpon.tools.table import table as lines_of

KINDS = 40  # kinds of faults printed; the file holds every fault
NAMED = 3  # files named of a kind of several


def run(
    source: Source, folders: Sequence[Path | str | None], *, options: object, out: str, split: tuple[float, float, float],
    seed: int, given: tuple[str, ...] = (), workers: int = 0, cluster: str | None = None,
    tables: Callable[[Manifest], Iterable[str]] | None = None, counted: Callable[[Manifest], str] | None = None,
    listing: Mapping[str, object] | None = None, dry_run: bool = False, scratch: str | None = None,
    scratch_bytes: int = SCRATCH_BYTES, look: Callable[[Scan], Iterable[str]] = lambda found: (),
) -> int:  # fmt: skip
    """List, pack and tell: what every `tarpon pack KIND` does.

    Args:
        folders: what the source's `scan` lists, in its order: paths, or URLs as text; None where one is optional.
        options: the source's own dataclass.
        given: splits that the files say themselves.
        workers: processes; 0: one a core.
        cluster: as `open_cluster` takes it; unset: processes of this machine.
        tables: the finished set -> the lines between quarantine and total; unset: samples, groups and frames of each split.
        counted: the finished set -> its samples in words; unset: their number.
        listing: further keyword arguments of `scan`; text that is a URL is one file.
        dry_run: list, try a few, tell, and write nothing.
        scratch, scratch_bytes: folder for files fetched from URLs, and how much all processes together hold there.
        look: what was found -> lines before all others of a dry run.

    Returns:
        Exit status: 0, or 1 when nothing was packed.
    """
    processes = workers or len(os.sched_getaffinity(0))
    packing = Packing(out=out, split=split, seed=seed, given=given, workers=processes, shard_size=source.shard_size)
    begun, listing = time.perf_counter(), listing or {}
    fetched = {"scratch": Scratch(folder=scratch, size=scratch_bytes), "workers": processes}
    listed = scan_places(source, folders, options, listing=listing, look=look if dry_run else lambda found: (), **fetched)
    source, found = listed.source, listed.found
    if dry_run:
        return show(source, folders, found, before=listed.lines)
    watch = Stopwatch.begin(str(out), workers=None if cluster else packing.workers)
    try:
        with open_cluster(cluster, workers=packing.workers) if cluster else nullcontext() as executor:
            manifest, faults = pack(source, found, options=options, packing=packing, executor=executor)
    except PackingError as error:
        print("\n".join(quarantine(error.faults)))
        raise
    if manifest is None:
        print("\n".join([*quarantine(faults), nothing(source, folders, found, faults)]))
        return 1
    lines = [*quarantine(faults), "", *(tables or by_split)(manifest)]
    size = sum(tar.size for tar in manifest.tar_sums().values())
    what = "frames" if "frames" in manifest.table.column_names else "images"
    lines += watch.tell(units=sum(unit.size() for unit in found.units), what=what, size=size)
    lines.append(
        f"{counted(manifest) if counted else len(manifest)} packed, {manifest.card['quarantined']} in quarantine, "
        f"{size / 2**20:.1f} MiB in {manifest.card['shards']} shards, {time.perf_counter() - begun:.0f} s: {manifest.root}"
    )
    print("\n".join(lines))
    return 0


def show(source: Source, folders: Sequence[Path | str | None], found: Scan, *, before: Iterable[str] = ()) -> int:
    """Print what would be packed, and what is left over and why; 1 where nothing would be packed."""
    lines, faults = tell_trial(source, folders, found)
    told = [*before, *quarantine(faults, title="Left over"), *lines]
    print("\n".join(told if found.units else [*told, nothing(source, folders, found, faults)]))
    return 0 if found.units else 1


def nothing(source: Source, folders: Sequence[Path | str | None], found: Scan, faults: Sequence[Fault]) -> str:
    """Why no sample came out: the commonest fault where there was something to pack, else what a folder usually lacks."""
    where = " and ".join(str(folder) for folder in folders if folder)
    if not faults:
        return f"No samples found in {where}. Likely causes: {source.hint.format(folder=folders[0])}."
    reason, alike = group_by_reason(faults)[0]
    blamed = f"No samples found in {where} that can be used: {len(faults)} in quarantine, {len(alike)} of them as in: {reason}"
    return blamed if found.units else f"{blamed}\nOther causes: {source.hint.format(folder=folders[0])}."


def shares(text: str) -> tuple[float, float, float]:
    try:
        parts = tuple(float(part) for part in text.split(","))
    except ValueError:
        parts = ()
    if len(parts) != 3 or not all(map(math.isfinite, parts)):
        raise ValueError(f"split={text!r} must be three numbers by comma: train, val, test; e.g. 0.7,0.15,0.15")
    return parts


def by_split(manifest: Manifest) -> list[str]:
    """Samples, groups and frames of each split."""
    rows = []
    for split in ("train", "val", "test"):
        taken = manifest.table.take(pa.array(manifest.rows(split)))
        frames = (sum(taken["frames"].to_pylist()),) if "frames" in taken.column_names else ()
        rows.append((split, len(taken), len(set(taken["group"].to_pylist())), *frames))
    return [*lines_of(("split", "samples", "groups", "frames")[: len(rows[0])], rows), ""]


def quarantine(faults: Sequence[Fault], *, title: str = f"Not packed (one a line in {QUARANTINE})") -> list[str]:
    """What was not packed, and remarks on what was: a line a reason, with how often and where."""
    lines = []
    for head, kept in ((title, False), ("Packed, with a remark", True)):
        kinds = group_by_reason([fault for fault in faults if fault.packed == kept])
        if kinds:
            rows = [(len(alike), _where(alike), reason) for reason, alike in kinds[:KINDS]]
            lines += [f"{head}:", *lines_of(("count", "where", "reason"), rows)]
        if len(kinds) > KINDS:
            lines.append(f"... and {len(kinds) - KINDS} more kinds")
    return lines


def _where(faults: Sequence[Fault]) -> str:
    named = [fault.file if fault.row is None else f"{fault.file} row {fault.row}" for fault in faults[:NAMED]]
    return ", ".join(named) + (f" and {len(faults) - NAMED} more" if len(faults) > NAMED else "")
