"""`tarpon pack cells`: two folders of time-lapse stacks into shards, one sample a page."""

from pathlib import Path

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.sources.cells.config import read_config
from tarpon.shards.sources.cells.record import CELLS
from tarpon.shards.sources.cells.source import CLASSES, CellsSource
from tarpon.shards.sources.images import MAX_PIXELS
from tarpon.tools.pack import run, shares
from tarpon.tools.table import table


def cells(
    *,
    config: str,
    out: str,
    group: str = "stack",
    folds: int | None = None,
    split: str | None = None,
    seed: int | None = None,
    side: int = 0,
    max_pixels: int = MAX_PIXELS,
    workers: int = 0,
    cluster: str | None = None,
    dry_run: bool = False,
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
        max_pixels: a stack whose header tells of pages of more is kept out, unread.
        workers: processes; 0: one a core.
        cluster: tcp://HOST:PORT of a dask scheduler whose workers make the shards, or slurm, which starts `workers` jobs.
        dry_run: tell what would be packed and what would not and why, after trying a few; write nothing.
    """
    settings = read_config(Path(config))
    seed = settings.split_seed if seed is None else seed
    ratios = settings.split if split is None else shares(split)
    options = CellsSource(
        frames_per_hour=settings.frames_per_hour,
        name_regex=settings.name_regex,
        group=group,
        folds=settings.folds if folds is None else folds,
        seed=seed,
        side=side,
        max_pixels=max_pixels,
    )
    for line in settings.unused:
        print(f"note: {config}: {line}")
    return run(
        CELLS,
        (settings.infected_dir, settings.uninfected_dir),
        options=options,
        out=out,
        split=ratios,
        seed=seed,
        workers=workers,
        cluster=cluster,
        dry_run=dry_run,
        tables=format_packed,
        counted=lambda manifest: f"{len(manifest)} pages of {manifest.card['stacks']} stacks",
    )


def format_packed(manifest: Manifest) -> list[str]:
    """What was packed by split and fold, and what to beware of."""
    split, fold, label, stack, group = (manifest.column(name) for name in ("split", "fold", "label", "stack", "group"))
    parts = [(name, split == name) for name in SPLITS] + [(f"fold {k}", fold == k) for k in range(manifest.card["folds"])]
    rows = [
        (
            name,
            int(members.sum()),
            len(set(group[members])),
            *(len(set(stack[members & (label == number)])) for number in range(len(CLASSES))),
        )
        for name, members in parts
        if members.any()
    ]
    return [
        *table(("split", "pages", "groups", *(f"{name} stacks" for name in CLASSES)), rows),
        "",
        *(f"note: {line}" for line in manifest.card["notes"]),
        *(f"WARNING: {line}" for line in manifest.card["warnings"]),
    ]
