"""`tarpon pack KIND`: a lab's raw folder into shards, with a table of what was packed and what was not."""

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from tarpon.shards.manifest import Manifest
from tarpon.shards.nvdec import below_minimum
from tarpon.shards.pack import QUARANTINE, Packing, PackingError, pack
from tarpon.shards.quarantine import Fault, by_reason
from tarpon.shards.source import Scan, Source
from tarpon.shards.sources.mouse.dlc import MOUSE_POINTS
from tarpon.shards.sources.mouse.labels_classes import read_class_map
from tarpon.shards.sources.mouse.source import MOUSE
from tarpon.shards.sources.mouse.units import CLASSES, MouseSource
from tarpon.shards.sources.video import ClipFormat
from tarpon.tools.mouse.pack_pairs import pairs
from tarpon.tools.table import table as lines_of

KINDS = 40  # kinds of faults printed; the file holds every fault
NAMED = 3  # files named of a kind of several


def mouse(
    *,
    videos: str,
    out: str,
    annotations: str | None = None,
    keypoints: str = ",".join(MOUSE_POINTS),
    pose: str = "dlc",
    individual: str | None = None,
    trial_frames: int = 360,
    offset: int | None = None,
    group: str = "video",
    split: str = "0.7,0.15,0.15",
    seed: int = 0,
    codec: str = "vp9",
    gop: int = 16,
    short_side: int = 224,
    workers: int = 0,
    table: str | None = None,
    classes: str = ",".join(CLASSES),
    class_map: str | None = None,
    background: str = "",
    frame_column: str = "auto",
    label_unit: str = "auto",
    dry_run: bool = False,
) -> int:
    """Pack videos, DeepLabCut files and annotation CSVs into shards; run again after a kill it goes on.

    Args:
        videos: folder of videos (.mp4, .avi, .mov, .mkv, .webm, .wmv, .m4v, .mpg, .ts), each with its DeepLabCut file
            beside it.
        out: folder for the shards.
        annotations: folder of prediction_<video file>_<trial>.csv; without it, points only.
        keypoints: body parts, by comma, in the model's order.
        pose: dlc, or none to pack without points.
        individual: which animal of multi-animal DeepLabCut files.
        trial_frames: video frames from one trial's start to the next.
        offset: first labelled frame of a trial; unset: 15 where a CSV has trial_frames - 15 rows, else 0.
        group: what the split keeps together: video, or a regular expression whose first group names it (mouse id, date).
        split: shares of train, val and test.
        seed: of the split.
        codec: vp9 or mjpeg (CPU and GPU), h264 or hevc (GPU only).
        gop: frames between key frames.
        short_side: pixels; larger videos are made smaller once, here.
        workers: processes; 0: one a core.
        table: CSV of video, track, labels, trial, first_frame, group, where names do not pair the files; only video is needed.
        classes: by comma, in the order of their numbers.
        class_map: CSV of two columns, the name in the tables and the class; a blank class is not scored.
        background: class of frames that no bout covers or that a one-hot table calls background; unset: not scored.
        frame_column: how Frame columns count: auto, zero, one, absolute, absolute_one (frames of the video), ignore.
        label_unit: of tables of bouts: auto, frames or seconds.
        dry_run: print what would be paired with what, and what is left over and why; write nothing.
    """
    chosen = MouseSource(
        keypoints=tuple(name.strip() for name in keypoints.split(",") if name.strip()),
        pose=pose,
        individual=individual,
        trial_frames=trial_frames,
        offset=offset,
        group=group,
        clip=ClipFormat(codec=codec, gop=gop, short_side=short_side),
        classes=tuple(name.strip() for name in classes.split(",") if name.strip()),
        class_map=read_class_map(Path(class_map)) if class_map else (),
        background=background,
        frame_column=frame_column,
        label_unit=label_unit,
    )
    folders, listing = (Path(videos), Path(annotations) if annotations else None), {"table": Path(table) if table else None}
    if dry_run:
        found = MOUSE.scan(*folders, chosen, **listing)
        print("\n".join([*pairs(found), *quarantine(found.faults, title="Left over"), *([] if found.units else [nothing(
            MOUSE, folders, found, found.faults)])]))  # fmt: skip
        return 0 if found.units else 1
    return run(
        MOUSE,
        folders,
        options=chosen,
        out=out,
        split=shares(split),
        seed=seed,
        workers=workers,
        listing=listing,
    )


def run(
    source: Source,
    folders: Sequence[Path | None],
    *,
    options: object,
    out: str,
    split: tuple[float, float, float],
    seed: int,
    given: tuple[str, ...] = (),
    workers: int = 0,
    tables: Callable[[Manifest], Iterable[str]] | None = None,
    counted: Callable[[Manifest], str] | None = None,
    listing: Mapping[str, object] | None = None,
) -> int:
    """List, pack and tell: what every `tarpon pack KIND` does.

    Args:
        folders: what the source's `scan` lists, in its order; None where one is optional.
        options: the source's own dataclass.
        given: splits that the files say themselves.
        workers: processes; 0: one a core.
        tables: the finished set -> the lines between quarantine and total; unset: samples, groups and frames of each split.
        counted: the finished set -> its samples in words; unset: their number.
        listing: further keyword arguments of `scan`.

    Returns:
        Exit status: 0, or 1 when nothing was packed.
    """
    packing = Packing(
        out=Path(out),
        split=split,
        seed=seed,
        given=given,
        workers=workers or len(os.sched_getaffinity(0)),
        shard_size=source.shard_size,
    )
    begun = time.perf_counter()
    found = source.scan(*folders, options, **(listing or {}))
    try:
        manifest, faults = pack(source, found, options=options, packing=packing)
    except PackingError as error:
        print("\n".join(quarantine(error.faults)))
        raise
    if manifest is None:
        print("\n".join([*quarantine(faults), nothing(source, folders, found, faults)]))
        return 1
    lines = [*quarantine(faults), "", *(tables or by_split)(manifest)]
    size = sum(path.stat().st_size for path in Path(manifest.root).glob("*.tar"))
    lines.append(
        f"{counted(manifest) if counted else len(manifest)} packed, {len(faults)} in quarantine, {size / 2**20:.1f} MiB in "
        f"{manifest.card['shards']} shards, {time.perf_counter() - begun:.0f} s: {manifest.root}"
    )
    print("\n".join(lines))
    if small := below_minimum(manifest):
        print(f"Note: {small}. A CPU trains on them; for a GPU pack again with a larger --short_side.")
    return 0


def nothing(source: Source, folders: Sequence[Path | None], found: Scan, faults: Sequence[Fault]) -> str:
    """Why no sample came out: the commonest fault where there was something to pack, else what a folder usually lacks."""
    where = " and ".join(str(folder) for folder in folders if folder)
    hint = f"Likely causes: {source.hint.format(folder=folders[0])}."
    if not found.units:
        return f"No samples found in {where}. {hint}"
    reason, alike = by_reason(faults)[0]
    return f"No samples found in {where} that can be used: {len(faults)} in quarantine, {len(alike)} of them as in: {reason}."


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
    """What was not packed: a line a reason, with how often and where."""
    if not faults:
        return []
    kinds = by_reason(faults)
    rows = [(len(alike), reason, _where(alike)) for reason, alike in kinds[:KINDS]]
    lines = [f"{title}:", *lines_of(("count", "reason", "where"), rows)]
    return lines + ([f"... and {len(kinds) - KINDS} more kinds"] if len(kinds) > KINDS else [])


def _where(faults: Sequence[Fault]) -> str:
    named = [fault.file if fault.row is None else f"{fault.file} row {fault.row}" for fault in faults[:NAMED]]
    return ", ".join(named) + (f" and {len(faults) - NAMED} more" if len(faults) > NAMED else "")
