"""`tarpon look`: what is in a packed data set, in tables and in one picture."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tarpon.shards import atomic
from tarpon.shards.manifest import SPLITS, Manifest, open_manifest
from tarpon.shards.pack import QUARANTINE
from tarpon.shards.quarantine import Fault, group_by_reason, read_faults
from tarpon.shards.tar_cache import CACHE_BYTES, Cache
from tarpon.tools.table import table
from tarpon.tools.tasks import part_of_kind

SHEET = "contact_sheet.png"
SHOWN = 20  # quarantine reasons that are printed


@dataclass(frozen=True, kw_only=True)
class Preview:
    """How one kind of data set is shown."""

    tables: Callable[[Manifest], Iterator[str]]
    sheet: Callable[..., bytes]  # (manifest, count=, seed=) -> PNG


def run(
    shards: str,
    *,
    out: str | None = None,
    frames: int = 24,
    seed: int = 0,
    cache: str | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> int:
    """Print what a packed data set holds and draw some of its pictures.

    Args:
        shards: folder that `tarpon pack` wrote, or its URL.
        out: PNG file; unset writes contact_sheet.png into the folder.
        frames: pictures on the sheet, shared out over the classes.
        seed: another one picks other frames.
        cache: folder for fetched tars, of shards at a URL.
        cache_bytes: most bytes that it may hold.

    Returns:
        0.
    """
    manifest = open_manifest(shards, cache=Cache.of(cache, cache_bytes))
    kind = manifest.card.get("kind")
    preview = part_of_kind(kind, "look", where=shards)
    if frames < 1:
        raise ValueError(f"frames={frames} must be 1 or more")
    if out is None and "://" in shards:
        raise ValueError(f"{shards} is remote: name a local picture to write (--out FILE.png)")
    if not len(manifest):
        raise ValueError(f"{shards}: holds no sample")
    print(f"{shards}: {kind}, {len(manifest)} samples in {manifest.card['shards']} tars")
    for part in (split_table(manifest), preview.tables(manifest)):
        print("\n".join(["", *part]))
    if "://" not in shards:
        print("\n".join(["", *quarantine_table(read_faults(Path(shards) / QUARANTINE))]))
    path = Path(out) if out else Path(shards) / SHEET
    atomic.write_bytes(path, preview.sheet(manifest, count=frames, seed=seed))
    print(f"\npicture: {path}")
    return 0


def split_table(manifest: Manifest) -> Iterator[str]:
    """Groups, samples and, of clips, frames of each split."""
    groups = manifest.column("group")
    frames = manifest.column("frames") if "frames" in manifest.table.column_names else None
    rows = []
    for name, members in [*((split, manifest.rows(split)) for split in SPLITS), ("all", np.arange(len(manifest)))]:
        counted = [] if frames is None else [int(frames[members].sum())]
        rows.append([name, len(set(groups[members])), len(members), *counted])
    yield from table(["split", "groups", "samples", "frames"][: len(rows[0])], rows)


def quarantine_table(faults: Sequence[Fault]) -> Iterator[str]:
    """Reasons, those that differ in names and numbers as one, with their counts and one example each, the most frequent first.

    Remarks on what was packed stand by themselves.
    """
    left, remarks = ([fault for fault in faults if fault.packed == packed] for packed in (False, True))
    yield f"quarantine: {len(left) or 'nothing was'} left out"
    yield from _count_reasons(left)
    if remarks:
        yield f"packed with a remark: {len(remarks)}"
        yield from _count_reasons(remarks)


def _count_reasons(faults: Sequence[Fault]) -> Iterator[str]:
    for reason, alike in group_by_reason(faults)[:SHOWN]:
        yield f"  {len(alike):>4} x {reason} (e.g. {alike[0].file})"
