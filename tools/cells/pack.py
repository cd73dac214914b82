"""`tarpon pack cells`: two folders of time-lapse stacks into shards, one sample a page."""

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.pack import Packing, by_group, pack
from tarpon.shards.quarantine import Fault
from tarpon.shards.sources.cells import source
from tarpon.shards.sources.cells.card import card
from tarpon.shards.sources.cells.config import read_config
from tarpon.shards.split import fold_splits
from tarpon.tools.pack import quarantine, shares
from tarpon.tools.table import table

SHARD_PAGES = 512  # a tar of 1 GB at 1024 x 1024 pixels of 16 bits


def cells(
    *,
    config: str,
    out: str,
    group: str = "stack",
    folds: int | None = None,
    split: str | None = None,
    seed: int | None = None,
    side: int = 0,
    workers: int = 0,
) -> int:
    """Pack infected and uninfected TIFF stacks into shards, every page at its full depth; run again after a kill it goes on.

    Args:
        config: YAML file with data.infected_dir and data.uninfected_dir; the published trainer's files are read as they are.
        out: folder for the shards.
        group: what the split keeps together: stack, well, plate, or a regular expression whose first group tells it.
        folds: rotating test folds stored beside the split; unset: training.k_folds of the file, else none.
        split: shares of train, val and test; unset: data.split_ratios of the file, else 0.7,0.15,0.15.
        seed: of split and folds; unset: data.split_seed of the file, else 0.
        side: pixels that pages are stretched to, once, here; with the size that is trained at, training reads them several
            times as fast. 0: every page is kept pixel for pixel.
        workers: processes; 0: one a core.
    """
    said = read_config(Path(config))
    seed = said.split_seed if seed is None else seed
    ratios = said.split if split is None else shares(split)
    chosen = source.CellsSource(
        frames_per_hour=said.frames_per_hour,
        name_regex=said.name_regex,
        group=group,
        folds=said.folds if folds is None else folds,
        seed=seed,
        side=side,
    )
    packing = Packing(
        out=Path(out), split=ratios, seed=seed, workers=workers or len(os.sched_getaffinity(0)), shard_size=SHARD_PAGES
    )
    for line in said.unused:
        print(f"note: {config}: {line}")
    begun = time.perf_counter()
    units, faults = source.scan(said.infected_dir, said.uninfected_dir, chosen)
    manifest, faults = pack(
        units,
        faults,
        make=source.make,
        schema=source.SCHEMA,
        settings=source.settings(chosen),
        packing=packing,
        assign=partial(assign, packing=packing, folds=chosen.folds),
        card=partial(card, units=units, source=chosen),
    )
    if manifest is None:
        print("\n".join(quarantine(faults)))
        print(
            f"No samples found in {said.infected_dir} and {said.uninfected_dir}. Likely causes: the stacks are not .tif or "
            f".tiff files lying flat in these folders, their names do not tell well and position (..._b2_p12_...; see "
            f"data.name_regex), or their pixels are not unsigned 8 or 16 bits."
        )
        return 1
    print("\n".join(packed(manifest, faults, seconds=time.perf_counter() - begun)))
    return 0


def assign(rows: pa.Table, *, packing: Packing, folds: int) -> list[str]:
    """The split of every page, by group and stratified by class. ValueError where the folds cannot be used so."""
    splits = by_group(source.histogram, packing)(rows)
    labels, fold = rows["label"].to_numpy(), rows["fold"].to_numpy()
    train, val, _ = packing.split
    for k in range(folds):
        if len(set(labels[fold == k].tolist())) < len(source.CLASSES):
            raise ValueError(f"fold {k} holds stacks of one class only after the quarantine; lower --folds or mend the stacks")
        fold_splits(fold, rows["group"].to_pylist(), labels, k=k, val_share=val / (train + val), seed=packing.seed)
    return splits


def packed(manifest: Manifest, faults: Sequence[Fault], *, seconds: float) -> list[str]:
    """The closing tables: what was packed by split and fold, what was not, and what to beware of."""
    split, fold, label, stack, group = (manifest.column(name) for name in ("split", "fold", "label", "stack", "group"))
    parts = [(name, split == name) for name in SPLITS] + [(f"fold {k}", fold == k) for k in range(manifest.card["folds"])]
    rows = [
        (
            name,
            int(members.sum()),
            len(set(group[members])),
            *(len(set(stack[members & (label == number)])) for number in range(len(source.CLASSES))),
        )
        for name, members in parts
        if members.any()
    ]
    size = sum(path.stat().st_size for path in Path(manifest.root).glob("*.tar"))
    return [
        *quarantine(faults),
        "",
        *table(("split", "pages", "groups", *(f"{name} stacks" for name in source.CLASSES)), rows),
        "",
        *(f"note: {line}" for line in manifest.card["notes"]),
        *(f"WARNING: {line}" for line in manifest.card["warnings"]),
        f"{len(manifest)} pages of {manifest.card['stacks']} stacks packed, {len(faults)} in quarantine, "
        f"{size / 2**20:.1f} MiB in {manifest.card['shards']} shards, {seconds:.0f} s: {manifest.root}",
    ]
