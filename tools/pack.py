"""`tarpon pack KIND`: a lab's raw folder into shards, with a table of what was packed and what was not."""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarpon.shards.manifest import Manifest
from tarpon.shards.nvdec import below_minimum
from tarpon.shards.pack import QUARANTINE, Packing, pack
from tarpon.shards.quarantine import Fault
from tarpon.shards.sources.mouse import source
from tarpon.shards.sources.mouse.dlc import MOUSE_POINTS
from tarpon.shards.sources.video import ClipFormat
from tarpon.tools.table import table

SHOWN = 40  # faults printed; the file holds all


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
) -> int:
    """Pack videos, DeepLabCut files and annotation CSVs into shards; run again after a kill it goes on.

    Args:
        videos: folder of .mp4 files, each with its DeepLabCut file beside it.
        out: folder for the shards.
        annotations: folder of prediction_<video>.mp4_<trial>.csv; without it, points only.
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
    """
    chosen = source.MouseSource(
        keypoints=tuple(name.strip() for name in keypoints.split(",") if name.strip()),
        pose=pose,
        individual=individual,
        trial_frames=trial_frames,
        offset=offset,
        group=group,
        clip=ClipFormat(codec=codec, gop=gop, short_side=short_side),
    )
    begun = time.perf_counter()
    units, faults = source.scan(Path(videos), Path(annotations) if annotations else None, chosen)
    manifest, faults = pack(
        units,
        faults,
        make=source.make,
        schema=source.SCHEMA,
        settings=source.settings(chosen),
        packing=Packing(out=Path(out), split=shares(split), seed=seed, workers=workers or len(os.sched_getaffinity(0))),
        histogram=lambda rows: np.stack(rows["histogram"].to_pylist()),
        card={"classes": list(source.CLASSES)},
    )
    if manifest is None:
        print("\n".join(quarantine(faults)))
        print(
            f"No samples found in {videos}. Likely causes: video, DeepLabCut and annotation names do not match "
            f"(<stem>.mp4, <stem>DLC_*.csv, prediction_<stem>.mp4_<trial>.csv), other body parts (--keypoints), "
            f"another trial length (--trial_frames), or no DeepLabCut files (--pose none)."
        )
        return 1
    print("\n".join(packed(manifest, faults, seconds=time.perf_counter() - begun)))
    if found := below_minimum(manifest):
        print(f"Note: {found}. A CPU trains on them; for a GPU pack again with a larger --short_side.")
    return 0


def shares(text: str) -> tuple[float, float, float]:
    try:
        parts = tuple(float(part) for part in text.split(","))
    except ValueError:
        parts = ()
    if len(parts) != 3 or not all(map(math.isfinite, parts)):
        raise ValueError(f"split={text!r} must be three numbers by comma: train, val, test; e.g. 0.7,0.15,0.15")
    return parts


def packed(manifest: Manifest, faults: Sequence[Fault], *, seconds: float) -> list[str]:
    """The closing table: what was packed by split, and what was not."""
    rows = []
    for split in ("train", "val", "test"):
        taken = manifest.table.take(pa.array(manifest.rows(split)))
        frames = (sum(taken["frames"].to_pylist()),) if "frames" in taken.column_names else ()
        rows.append((split, len(taken), len(set(taken["group"].to_pylist())), *frames))
    size = sum(path.stat().st_size for path in Path(manifest.root).glob("*.tar"))
    return [
        *quarantine(faults),
        "",
        *table(("split", "samples", "groups", "frames")[: len(rows[0])], rows),
        "",
        f"{len(manifest)} packed, {len(faults)} in quarantine, {size / 2**20:.1f} MiB in {manifest.card['shards']} shards, "
        f"{seconds:.0f} s: {manifest.root}",
    ]


def quarantine(faults: Sequence[Fault]) -> list[str]:
    if not faults:
        return []
    lines = [
        "Not packed:",
        *table(("file", "row", "reason"), [(f.file, "" if f.row is None else f.row, f.reason) for f in faults[:SHOWN]]),
    ]
    return lines + ([f"... and {len(faults) - SHOWN} more in {QUARANTINE}"] if len(faults) > SHOWN else [])
