"""A mouse lab's folder (videos, DeepLabCut files, one annotation CSV a trial) -> one sample a trial.

Trial N, row r of its CSV is video frame (N - 1) * trial_frames + offset + r; the DeepLabCut rows use the same frames.
A trial is packed only when video, points and labels all cover it; anything else becomes a Fault. Nothing is filled in.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarpon.shards.pack import Packing, split_by_group
from tarpon.shards.quarantine import Fault, is_machine_fault
from tarpon.shards.schema import Component, Sample, Schema
from tarpon.shards.source import Scan, Source
from tarpon.shards.sources.mouse.cutting import cut
from tarpon.shards.sources.mouse.pairs import scan
from tarpon.shards.sources.mouse.pose_track import Track, read_track
from tarpon.shards.sources.mouse.summary import SUMMARY
from tarpon.shards.sources.mouse.trial_labels import Labels, fault_of, read_trials
from tarpon.shards.sources.mouse.units import MouseSource, VideoUnit
from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.length import count_frames

SCHEMA = Schema(
    kind="mouse",
    components=(
        Component(name="clip.mp4", holds="the trial's frames, re-encoded; T frames at the stored size"),
        Component(
            name="keypoints.npy",
            holds="(T, K, 3) float32: x, y in source pixels (NaN: not labelled), likelihood",
            optional=True,
        ),
        Component(name="actions.npy", holds="(T,) int8: the card's classes (of the published set, 8), -1 unlabelled"),
        Component(name="proof.npy", holds="(T, 8, 8, 3) uint8: mean RGB of the source frames as displayed"),
        Component(name="meta.json", holds="the sample's manifest row, readable without the manifest"),
    ),
    columns=(
        ("video", pa.string()),
        ("subject", pa.string()),
        ("trial", pa.int32()),
        ("first_frame", pa.int64()),
        ("frames", pa.int32()),
        ("fps", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("clip_width", pa.int32()),
        ("clip_height", pa.int32()),
        ("codec", pa.string()),
        ("body_length", pa.float32()),  # source pixels; NaN without points
        ("stimulus_frame", pa.int32()),  # within the trial; -1: the table says there was none
        ("actions", pa.list_(pa.int8())),
        ("histogram", pa.list_(pa.int32())),
    ),
    summary=SUMMARY,
)


def make(unit: VideoUnit) -> Iterator[Sample | Fault]:
    """One pass over a video: its trials as samples, what does not fit as faults.

    Raises:
        ValueError: the video cannot be read; packing quarantines it, as after any other exception.
    """
    path = Path(unit.path)
    info, track = video.probe(path), None
    if unit.points:
        try:
            track = track_of(unit, info)
        except ValueError as error:
            line = re.match(r"line (\d+): (.*)", str(error))
            file, reason = Path(unit.points).name, line[2] if line else str(error)
            yield Fault(file=file, reason=reason, row=int(line[1]) if line else None)
            return
        yield from (Fault(file=track.path.name, reason=remark, packed=True) for remark in track.remarks)
    wanted = []
    for item in _labels(unit, info, track):
        if isinstance(item, Fault):
            yield item
        else:
            wanted.append(item)
    if unit.trials and not wanted:
        return
    with open(path, "rb") as file:
        source_hash = hashlib.file_digest(file, "sha256").hexdigest()
    yield from cut(unit, info, track, wanted, source_hash)


def _labels(unit: VideoUnit, info: video.VideoInfo, track: Track | None) -> Iterator[tuple[Labels, str] | Fault]:
    """Labels of the trials with their files' names, in order of frames, none inside another; faults where they do not fit."""
    path, placed = Path(unit.path), []
    for entry in unit.trials:
        try:
            found = read_trials(
                entry, unit.source, video=path.name, fps=float(info.fps), frames=lambda: info.frames or _count(path),
                proven=unit.counting,
            )  # fmt: skip
        except (ValueError, OSError) as error:
            if is_machine_fault(error):
                raise
            yield fault_of(entry, error)
            continue
        yield from (item for item in found if isinstance(item, Fault))
        placed += [(item, Path(entry.path).name) for item in found if isinstance(item, Labels)]
    taken, last = 0, 0
    for labels, file in sorted(placed, key=lambda item: item[0].first):
        end = labels.first + len(labels.actions)
        if labels.first < taken:
            yield Fault(file=file, reason=f"trial {labels.trial} begins at frame {labels.first}, inside trial {last}")
        elif track is not None and end > len(track.xyl):
            yield Fault(file=file, reason=f"needs frames up to {end - 1}, {Path(unit.points).name} has {len(track.xyl)} rows")
        else:
            taken, last = end, labels.trial
            yield labels, file


def _count(path: Path) -> int:
    """Frames of a video whose container does not declare them."""
    return sum(1 for _ in video.decode(path))


def track_of(unit: VideoUnit, info: video.VideoInfo) -> Track:
    """The unit's points, checked against its video; ValueError in one line."""
    return read_track(
        Path(unit.points),
        unit.source.keypoints,
        individual=unit.source.individual,
        scorer=unit.source.scorer,
        frames=count_frames(Path(unit.path)),
        size=(info.width, info.height),
        max_blank=unit.source.max_blank,
    )


def assign(rows: pa.Table, *, options: MouseSource, packing: Packing) -> list[str]:
    """Whole groups, stratified by their frames of each class."""
    return split_by_group(rows, np.stack(rows["histogram"].to_pylist()), packing=packing)


def describe(rows: pa.Table, *, found: Scan, options: MouseSource) -> dict:
    return {"classes": list(options.classes)}


MOUSE = Source(
    schema=SCHEMA,
    scan=scan,
    make=make,
    assign=assign,
    describe=describe,
    hint=(
        "the videos are in another folder or of another kind, or video, DeepLabCut and annotation names do not match "
        "(<stem>.mp4, <stem>DLC_*.csv, prediction_<stem>.mp4_<trial>.csv); --dry_run shows what would be paired"
    ),
)
