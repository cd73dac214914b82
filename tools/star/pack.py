"""`tarpon pack star` and `tarpon pack wildlife`: pictures of known animals into shards."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.scratch import SCRATCH_BYTES
from tarpon.shards.sources.images import MAX_PIXELS
from tarpon.shards.sources.star.date_rules import parse_dates
from tarpon.shards.sources.star.source import STAR, StarSource
from tarpon.shards.sources.star.wildlife import WILDLIFE, WildlifeSource
from tarpon.shards.store import find_place, is_url
from tarpon.tools.pack import run
from tarpon.tools.table import table

SHOWN = 40  # undated folders printed; the card holds all


def star(
    *, root: str, out: str, metadata: str | None = None, dates: str | None = None, split: str = "temporal",
    train_ratio: float | None = None, min_sessions: int | None = None, open_set: float | None = None, longest_side: int = 620,
    max_pixels: int = MAX_PIXELS, seed: int | None = None, workers: int = 0, cluster: str | None = None, dry_run: bool = False,
    scratch: str | None = None, scratch_bytes: int = SCRATCH_BYTES,
) -> int:  # fmt: skip
    """Pack a star data set into shards; run again after a kill it goes on.

    Args:
        root: folder or URL of [<dataset>/]<individual>/<outing>/<image>; without the first level its own name is the data set.
        out: folder for the shards.
        metadata: path or URL of a CSV of identity and path (or folder, filename) relative to root, and perhaps date; unset:
            the tree tells.
        dates: month_first or day_first, where the numbers of the dates do not tell; or path or URL of a CSV of folder,date for
            outings whose names tell no day; or both with a comma between.
        split: temporal (each animal's earliest days train, the last of them validates, later days test), or given (the
            metadata's split column).
        train_ratio: of an animal's days, for training and validation; unset: 0.8.
        min_sessions: days an animal needs to be asked; those with fewer are distractors; unset: 2.
        open_set: share of the animals of several days that are tested as unknown; unset: 0.
        longest_side: pixels; larger pictures are made smaller once, here. 0: never.
        max_pixels: a picture whose header tells of more is kept out, unread.
        seed: which animals are tested as unknown; unset: 42.
        workers: processes; 0: one a core.
        cluster: tcp://HOST:PORT of a dask scheduler whose workers make the shards, or slurm, which starts `workers` jobs.
        dry_run: tell what would be packed and what would not and why, after trying a few; write nothing.
        scratch: folder for files of a URL while they are packed; unset: the machine's for temporary files.
        scratch_bytes: of it, shared by the `workers`.
    """
    asked = {"train_ratio": train_ratio, "min_sessions": min_sessions, "open_set": open_set, "seed": seed}
    own = {name: value for name, value in asked.items() if value is not None}
    if split == "given" and own:
        raise ValueError(f"{', '.join(own)} would do nothing with split=given: the file says the split; take one away")
    rule, days = parse_dates(dates)
    chosen = StarSource(split=split, longest_side=longest_side, max_pixels=max_pixels, **own)
    return run(
        STAR,
        (find_place(root),),
        options=chosen,
        out=out,
        split=(chosen.train_ratio, 0.0, 1 - chosen.train_ratio),  # of days; validation is one of the training days
        seed=chosen.seed,
        given=("test",) if split == "given" else (),
        workers=workers,
        cluster=cluster,
        dry_run=dry_run,
        scratch=scratch,
        scratch_bytes=scratch_bytes,
        tables=format_packed,
        listing={"metadata": _below(metadata, root) if metadata else None, "dates": days, "rule": rule},
    )


def wildlife(
    *,
    root: str,
    out: str,
    split_strategy: str = "original",
    include: str = "",
    exclude: str = "",
    keep_seastar: bool = False,
    train_ratio: float | None = None,
    val_share: float = 0.1,
    longest_side: int = 620,
    max_pixels: int = MAX_PIXELS,
    seed: int = 42,
    workers: int = 0,
    cluster: str | None = None,
    dry_run: bool = False,
    scratch: str | None = None,
    scratch_bytes: int = SCRATCH_BYTES,
) -> int:
    """Pack WildlifeReID-10k into shards; run again after a kill it goes on.

    Args:
        root: folder or URL of metadata.csv (identity, path, dataset, split, and perhaps species, date, orientation,
            cluster_id).
        out: folder for the shards.
        split_strategy: original (the file's), time_aware, cluster_aware, random, or recommended (by data set).
        include: data sets by comma; unset: all.
        exclude: data sets by comma. SeaStarReID2023 is left out whatever is named here.
        keep_seastar: keep SeaStarReID2023; the shards then cannot be trained together with a star data set.
        train_ratio: of an animal's pictures, where the split is made here; unset: 0.8.
        val_share: of the training pictures, for validation, by whole days and clusters.
        longest_side: pixels; larger pictures are made smaller once, here. 0: never.
        max_pixels: a picture whose header tells of more is kept out, unread.
        seed: of what is drawn.
        workers: processes; 0: one a core.
        cluster: tcp://HOST:PORT of a dask scheduler whose workers make the shards, or slurm, which starts `workers` jobs.
        dry_run: tell what would be packed and what would not and why, after trying a few; write nothing.
        scratch: folder for files of a URL while they are packed; unset: the machine's for temporary files.
        scratch_bytes: of it, shared by the `workers`.
    """
    if split_strategy == "original" and train_ratio is not None:
        raise ValueError("train_ratio would do nothing with split_strategy=original: the file says the split; take one away")
    own = {} if train_ratio is None else {"train_ratio": train_ratio}
    chosen = WildlifeSource(
        split_strategy=split_strategy,
        val_share=val_share,
        seed=seed,
        include=_names(include),
        exclude=_names(exclude),
        keep_seastar=keep_seastar,
        longest_side=longest_side,
        max_pixels=max_pixels,
        **own,
    )
    given = ("test",) if split_strategy in ("original", "recommended") else ()
    packing = {"out": out, "seed": seed, "given": given, "workers": workers, "cluster": cluster, "dry_run": dry_run}
    packing |= {"scratch": scratch, "scratch_bytes": scratch_bytes, "tables": format_packed}
    return run(WILDLIFE, (find_place(root),), options=chosen, split=(1 - val_share, val_share, 0.0), **packing)


def _below(metadata: str, root: str) -> Path | str:
    """The file as named from here, or else from the root."""
    if is_url(metadata) or is_url(root):
        return metadata if is_url(metadata) else Path(metadata) if Path(metadata).exists() else f"{root.rstrip('/')}/{metadata}"
    return Path(root) / metadata if not Path(metadata).exists() and (Path(root) / metadata).exists() else Path(metadata)


def _names(text: str) -> tuple[str, ...]:
    return tuple(sorted({name.strip() for name in text.split(",")} - {""}))


def format_packed(manifest: Manifest) -> Iterator[str]:
    """What was packed by split, which folders tell no day, and what to beware of."""
    card = manifest.card
    yield from format_undated(manifest)
    yield from format_splits(manifest)
    yield ""
    yield f"{card['protocol']}."
    yield (
        f"{card['identities']} identities: {card['evaluable']['val']} asked in validation, {card['evaluable']['test']} in "
        f"test; {card['distractors']} distractors, {card['novel']} novel"
    )
    yield from (f"note: {line}" for line in card["notes"])
    yield from (f"WARNING: {line}" for line in card["warnings"])


def format_splits(manifest: Manifest) -> Iterator[str]:
    """Pictures, identities and sessions of each split, and of distractors and novel animals."""
    split, identity, group = (manifest.column(name) for name in ("split", "identity", "group"))
    parts = [(name, split == name) for name in SPLITS]
    parts += [(f"of these {name}", manifest.column(name).astype(bool)) for name in ("distractor", "novel")]
    rows = [(name, int(own.sum()), len(set(identity[own])), len(set(group[own]))) for name, own in parts]
    everything = np.ones(len(split), bool)
    rows.append(("all", int(everything.sum()), len(set(identity)), len(set(group))))
    yield from table(("split", "pictures", "identities", "sessions"), rows)


def format_undated(manifest: Manifest) -> Iterator[str]:
    """Folders whose names have digits and tell no day, with their pictures: these train and are no session."""
    folders = manifest.card["undated"]
    if not folders:
        return
    outing = manifest.column("outing")
    yield "Undated (their pictures train and are no session; name the days in a CSV of folder,date with --dates):"
    yield from table(("folder", "pictures"), [(name, int((outing == name).sum())) for name in folders[:SHOWN]])
    if len(folders) > SHOWN:
        yield f"... and {len(folders) - SHOWN} more in dataset.json"
    yield ""
