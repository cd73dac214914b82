"""`tarpon pack cells`: folders of time-lapse stacks into shards, one sample a page."""

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.remote_units import open_file
from tarpon.shards.scratch import SCRATCH_BYTES, Scratch
from tarpon.shards.sources.cells.config import read_config
from tarpon.shards.sources.cells.plate_map import read_plate_map
from tarpon.shards.sources.cells.record import choose_record
from tarpon.shards.sources.cells.schema import CLASSES
from tarpon.shards.sources.cells.source import CellsSource
from tarpon.shards.sources.images import MAX_PIXELS
from tarpon.shards.store import is_url
from tarpon.tools.pack import run, shares
from tarpon.tools.table import table


def cells(
    *, config: str, out: str, group: str = "stack", folds: int | None = None, split: str | None = None, seed: int | None = None,
    side: int = 0, channel: str = "", project: str = "", values: str | None = None, max_pixels: int = MAX_PIXELS,
    workers: int = 0, cluster: str | None = None, dry_run: bool = False, scratch: str | None = None,
    scratch_bytes: int = SCRATCH_BYTES,
) -> int:  # fmt: skip
    """Pack infected and uninfected stacks into shards, every page at its full depth; run again after a kill it goes on.

    Args:
        config: path or URL of a YAML file with data.infected_dir and data.uninfected_dir (folders or URLs), or
            data.stacks_dir and data.plate_map; the published trainer's files are read as they are.
        out: folder for the shards.
        group: what the split keeps together: stack, well, plate, or a regular expression whose first group tells it.
        folds: rotating test folds stored beside the split; unset: training.k_folds of the file, else none.
        split: shares of train, val and test; unset: data.split_ratios of the file, else 0.7,0.15,0.15.
        seed: of split and folds; unset: data.split_seed of the file, else 0.
        side: pixels that pages are stretched to, once, here; with the size that is trained at, training reads them several
            times as fast. 0: every page is kept pixel for pixel.
        channel: name or number from 1, of stacks with several; some by comma (phase,gfp) are inputs of one network, in order.
        project: what becomes of several depths: max, mean, or focus (the sharpest).
        values: LOW,HIGH: pixel values that become 0 and 65535 where pixels are signed or floating point; see docs/cells.md.
        max_pixels: a stack whose header tells of pages of more is kept out, unread.
        workers: processes; 0: one a core.
        cluster: tcp://HOST:PORT of a dask scheduler whose workers make the shards, or slurm, which starts `workers` jobs.
        dry_run: tell what would be packed and what would not and why, after trying a few; write nothing.
        scratch: folder for files of a URL while they are packed; unset: the machine's for temporary files.
        scratch_bytes: of it, shared by the `workers`.
    """
    held = Scratch(folder=scratch, size=scratch_bytes)
    with open_file(config, scratch=held) as path:
        settings = read_config(path, url=config if is_url(config) else "")
    seed = settings.split_seed if seed is None else seed
    options = CellsSource(
        frames_per_hour=settings.frames_per_hour, name_regex=settings.name_regex, group=group,
        folds=settings.folds if folds is None else folds, seed=seed, side=side,
        channel=channel, project=project, values=_read_values(values), max_pixels=max_pixels,
    )  # fmt: skip
    for line in settings.unused:
        print(f"note: {config}: {line}")
    wells = None
    if settings.plate_map:
        with open_file(str(settings.plate_map), scratch=held) as path:
            wells = read_plate_map(path)
    return run(
        choose_record(options),
        (settings.infected_dir, settings.uninfected_dir),
        options=options,
        out=out,
        split=settings.split if split is None else shares(split),
        seed=seed,
        workers=workers,
        cluster=cluster,
        dry_run=dry_run,
        scratch=scratch,
        scratch_bytes=scratch_bytes,
        tables=format_packed,
        listing={"plate_map": wells},
        counted=lambda manifest: f"{len(manifest)} pages of {manifest.card['stacks']} stacks",
    )


def _read_values(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError as error:
        raise ValueError(f"values={text!r} must be two numbers by comma, as in 0,4095") from error
    return low, high


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
