"""`tarpon pack star` and `tarpon pack wildlife`: pictures of known animals into shards."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.pack import Packing, pack
from tarpon.shards.quarantine import Fault
from tarpon.shards.sources.date_rules import parse_dates
from tarpon.shards.sources.star import pictures as reid
from tarpon.shards.sources.star import source as stars
from tarpon.shards.sources.star import wildlife as wild
from tarpon.tools.pack import quarantine
from tarpon.tools.table import table

SHARD_IMAGES = 4096  # a tar of about 400 MB at 620 pixels
SHOWN = 40  # undated folders printed; the card holds all


def star(
    *,
    root: str,
    out: str,
    metadata: str | None = None,
    dates: str | None = None,
    split: str = "temporal",
    train_ratio: float | None = None,
    min_sessions: int | None = None,
    open_set: float | None = None,
    longest_side: int = 620,
    seed: int | None = None,
    workers: int = 0,
) -> int:
    """Pack a star data set into shards; run again after a kill it goes on.

    Args:
        root: folder of [<dataset>/]<individual>/<outing>/<image>; without the first level its own name is the data set.
        out: folder for the shards.
        metadata: CSV of identity and path (or folder, filename) relative to root, and perhaps date; unset: the tree tells.
        dates: month_first or day_first, where the numbers of the dates do not tell; or a CSV of folder,date for outings whose
            names tell no day; or both with a comma between.
        split: temporal (each animal's earliest days train, the last of them validates, later days test), or given (the
            metadata's split column).
        train_ratio: of an animal's days, for training and validation; unset: 0.8.
        min_sessions: days an animal needs to be asked; those with fewer are distractors; unset: 2.
        open_set: share of the animals of several days that are tested as unknown; unset: 0.
        longest_side: pixels; larger pictures are made smaller once, here. 0: never.
        seed: which animals are tested as unknown; unset: 42.
        workers: processes; 0: one a core.
    """
    asked = {"train_ratio": train_ratio, "min_sessions": min_sessions, "open_set": open_set, "seed": seed}
    own = {name: value for name, value in asked.items() if value is not None}
    if split == "given" and own:
        raise ValueError(f"{', '.join(own)} would do nothing with split=given: the file says the split; take one away")
    chosen = stars.StarSource(split=split, longest_side=longest_side, **own)
    begun = time.perf_counter()
    rule, days = parse_dates(dates)
    found = stars.scan(Path(root), chosen, metadata=_below(metadata, root) if metadata else None, dates=days, rule=rule)
    given = ("test",) if split == "given" else ()
    ratios = (chosen.train_ratio, 0.0, 1 - chosen.train_ratio)  # of days; validation is one of the training days
    packing = _packing(out, ratios=ratios, seed=chosen.seed, given=given, workers=workers)
    causes = (
        f"No samples found in {root}. Likely causes: the pictures are not in {root}/<individual>/<outing>/ or "
        f"{root}/<dataset>/<individual>/<outing>/, --root is one folder too high or too low, or a metadata file is needed "
        f"(--metadata)."
    )
    return _pack(found, chosen, packing, begun=begun, causes=causes)


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
    seed: int = 42,
    workers: int = 0,
) -> int:
    """Pack WildlifeReID-10k into shards; run again after a kill it goes on.

    Args:
        root: folder of metadata.csv (identity, path, dataset, split, and perhaps species, date, orientation, cluster_id).
        out: folder for the shards.
        split_strategy: original (the file's), time_aware, cluster_aware, random, or recommended (by data set).
        include: data sets by comma; unset: all.
        exclude: data sets by comma. SeaStarReID2023 is left out whatever is named here.
        keep_seastar: keep SeaStarReID2023; the shards then cannot be trained together with a star data set.
        train_ratio: of an animal's pictures, where the split is made here; unset: 0.8.
        val_share: of the training pictures, for validation, by whole days and clusters.
        longest_side: pixels; larger pictures are made smaller once, here. 0: never.
        seed: of what is drawn.
        workers: processes; 0: one a core.
    """
    if split_strategy == "original" and train_ratio is not None:
        raise ValueError("train_ratio would do nothing with split_strategy=original: the file says the split; take one away")
    own = {} if train_ratio is None else {"train_ratio": train_ratio}
    chosen = wild.WildlifeSource(
        split_strategy=split_strategy,
        val_share=val_share,
        seed=seed,
        include=_names(include),
        exclude=_names(exclude),
        keep_seastar=keep_seastar,
        longest_side=longest_side,
        **own,
    )
    begun = time.perf_counter()
    found = wild.scan(Path(root), chosen)
    given = ("test",) if split_strategy in ("original", "recommended") else ()
    packing = _packing(out, ratios=(1 - val_share, val_share, 0.0), seed=seed, given=given, workers=workers)
    causes = (
        f"No samples found in {root}. Likely causes: the paths of metadata.csv are not relative to {root}, the images are not "
        f"unpacked, or include and exclude leave no data set."
    )
    return _pack(found, chosen, packing, begun=begun, causes=causes)


def _below(metadata: str, root: str) -> Path:
    """The file as named from here, or else from the root."""
    return Path(root) / metadata if not Path(metadata).exists() and (Path(root) / metadata).exists() else Path(metadata)


def _names(text: str) -> tuple[str, ...]:
    return tuple(sorted({name.strip() for name in text.split(",")} - {""}))


def _packing(out: str, *, ratios: tuple[float, float, float], seed: int, given: tuple[str, ...], workers: int) -> Packing:
    return Packing(
        out=Path(out),
        split=ratios,
        seed=seed,
        given=given,
        workers=workers or len(os.sched_getaffinity(0)),
        shard_size=SHARD_IMAGES,
    )


def _pack(found: reid.Scan, source: object, packing: Packing, *, begun: float, causes: str) -> int:
    manifest, faults = pack(
        found.units,
        found.faults,
        make=reid.make,
        schema=reid.SCHEMA,
        settings=reid.settings(source),
        packing=packing,
        assign=reid.assign,
        card=lambda rows: reid.card(rows, scan=found),
    )
    if manifest is None:
        print("\n".join(quarantine(faults)))
        print(causes)
        return 1
    print("\n".join(packed(manifest, faults, seconds=time.perf_counter() - begun)))
    return 0


def packed(manifest: Manifest, faults: Sequence[Fault], *, seconds: float) -> list[str]:
    """The closing tables: what was packed by split, what was not, which folders tell no day, and what to beware of."""
    card = manifest.card
    size = sum(path.stat().st_size for path in Path(manifest.root).glob("*.tar"))
    return [
        *quarantine(faults),
        *undated(manifest),
        "",
        *splits(manifest),
        "",
        f"{card['protocol']}.",
        f"{card['identities']} identities: {card['evaluable']['val']} asked in validation, {card['evaluable']['test']} in "
        f"test; {card['distractors']} distractors, {card['novel']} novel",
        *(f"note: {line}" for line in card["notes"]),
        *(f"WARNING: {line}" for line in card["warnings"]),
        f"{len(manifest)} packed, {len(faults)} in quarantine, {size / 2**20:.1f} MiB in {card['shards']} shards, "
        f"{seconds:.0f} s: {manifest.root}",
    ]


def splits(manifest: Manifest) -> Iterator[str]:
    """Pictures, identities and sessions of each split, and of distractors and novel animals."""
    split, identity, group = (manifest.column(name) for name in ("split", "identity", "group"))
    parts = [(name, split == name) for name in SPLITS]
    parts += [(f"of these {name}", manifest.column(name).astype(bool)) for name in ("distractor", "novel")]
    rows = [(name, int(own.sum()), len(set(identity[own])), len(set(group[own]))) for name, own in parts]
    everything = np.ones(len(split), bool)
    rows.append(("all", int(everything.sum()), len(set(identity)), len(set(group))))
    yield from table(("split", "pictures", "identities", "sessions"), rows)


def undated(manifest: Manifest) -> Iterator[str]:
    """Folders whose names have digits and tell no day, with their pictures: these train and are no session."""
    folders = manifest.card["undated"]
    if not folders:
        return
    outing = manifest.column("outing")
    yield ""
    yield "Undated (their pictures train and are no session; name the days in a CSV of folder,date with --dates):"
    yield from table(("folder", "pictures"), [(name, int((outing == name).sum())) for name in folders[:SHOWN]])
    if len(folders) > SHOWN:
        yield f"... and {len(folders) - SHOWN} more in dataset.json"
