"""A mouse lab's folder (videos, DeepLabCut files, one annotation CSV a trial) -> one sample a trial.

Trial N, row r of its CSV is video frame (N - 1) * trial_frames + offset + r; the DeepLabCut rows use the same frames.
A trial is packed only when video, points and labels all cover it; anything else becomes a Fault. Nothing is filled in.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pyarrow as pa

from tarpon.shards.pack import Packing, split_by_group
from tarpon.shards.quarantine import Fault
from tarpon.shards.schema import Component, Sample, Schema, safe_key
from tarpon.shards.source import Scan, Source
from tarpon.shards.sources.mouse.pairs import scan
from tarpon.shards.sources.mouse.pose_points import body_length
from tarpon.shards.sources.mouse.pose_track import Track, read_track
from tarpon.shards.sources.mouse.trial_labels import Labels, fault_of, read_trials
from tarpon.shards.sources.mouse.units import MouseSource, VideoUnit
from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.display import Display
from tarpon.shards.sources.video.length import count_frames
from tarpon.shards.sources.video.proof import Seen, Witness, check_alignment, thumbnail, thumbnails

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
)


def make(unit: VideoUnit) -> Iterator[Sample | Fault]:
    """One pass over a video: its trials as samples, what does not fit as faults. What was not foreseen is a fault too."""
    try:
        yield from _make(unit)
    except MemoryError:
        raise  # of the machine, not of the video
    except ValueError as error:
        yield Fault(file=Path(unit.path).name, reason=(str(error).splitlines() or ["cannot be packed"])[0])
    except Exception as error:  # noqa: BLE001  files are made by hundreds of programs: one of them must not end a run of days
        text = (str(error).splitlines() or [""])[0]
        yield Fault(file=Path(unit.path).name, reason=f"cannot be packed ({type(error).__name__}: {text})")


def _make(unit: VideoUnit) -> Iterator[Sample | Fault]:
    path, name = Path(unit.path), Path(unit.path).name
    try:
        info = video.probe(path)
    except ValueError as error:
        yield Fault(file=name, reason=str(error))
        return
    track = None
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
    yield from _cut(unit, info, track, wanted, source_hash)


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


def _cut(
    unit: VideoUnit, info: video.VideoInfo, track: Track | None, wanted: list, source_hash: str
) -> Iterator[Sample | Fault]:
    """Decode once, front to back, encoding each trial as its frames come by."""
    path, span = Path(unit.path), unit.source.trial_frames
    whole = not unit.trials  # no annotations: every full trial, for its points
    blank = np.full(span, -1, np.int8)
    queue = sorted(wanted, key=lambda item: item[0].first)
    current: _Cutting | None = None
    count, problem, tainted, key = 0, None, False, None
    witness = Witness(path)
    frames = video.decode(path)
    while True:
        try:
            frame = next(frames, None)
        except ValueError as error:
            frame, problem = None, str(error)
        if frame is None:
            break
        if current is None and whole and count % span == 0 and (track is None or count + span <= len(track.xyl)):
            queue = [(Labels(trial=count // span + 1, first=count, actions=blank, stimulus=60), path.name)]
        if current is None and queue and count == queue[0][0].first:
            labels, file = queue.pop(0)
            current = _Cutting(
                labels=labels,
                file=file,
                encoder=video.ClipEncoder(unit.source.clip, width=info.width, height=info.height, fps=info.fps),
            )
        key = frame.pts if frame.key_frame else key
        tainted = frame.is_corrupt or (tainted and not frame.key_frame)  # damage drifts on to the next key frame, unmarked
        if current is not None and current.add(frame, key=key, clean=not tainted):
            yield current.finish(unit, info, track, source_hash, witness)
            current = None
        count += 1
    witness.close()
    left = ([(current.labels, current.file)] if current else []) + queue
    for labels, file in left if not whole else []:
        end = labels.first + len(labels.actions)
        why = f": {problem}" if problem else ""
        yield Fault(file=file, reason=f"needs frames up to {end - 1}, {path.name} gives {count}{why}")
    if whole and (problem or count < span):
        yield Fault(file=path.name, reason=problem or f"{count} frames, a trial has {span}")
    if track is not None and not problem and track.frames.max() >= count:
        reason = f"has a row for frame {track.frames.max()}, {path.name} decodes to {count} frames: points may be shifted"
        yield Fault(file=track.path.name, reason=reason)
    if whole and track is not None and len(track.xyl) < (full := count // span * span):
        yield Fault(
            file=Path(unit.points).name, reason=f"{len(track.xyl)} rows, the whole trials of {path.name} have {full} frames"
        )


class _Cutting:
    """A trial while its frames come by."""

    def __init__(self, *, labels: Labels, file: str, encoder: video.ClipEncoder) -> None:
        self.labels, self.file, self.encoder = labels, file, encoder
        self.display = Display()
        self.thumbs: list[np.ndarray] = []
        self.times: list[tuple[int | None, int | None]] = []  # pts of each frame and of its key frame
        self.corrupt: int | None = None

    def add(self, frame: av.VideoFrame, *, key: int | None, clean: bool) -> bool:
        """True when that was the trial's last frame. key: pts of the last key frame up to this one."""
        if not clean and self.corrupt is None:
            self.corrupt = self.labels.first + len(self.thumbs)
        self.thumbs.append(thumbnail(frame, self.display))
        self.times.append((frame.pts, key))
        self.encoder.add(frame)
        return len(self.thumbs) == len(self.labels.actions)

    def chosen(self) -> list[Seen]:
        """The first, the middle and the last frame, for the witness."""
        return [
            Seen(number=self.labels.first + i, pts=self.times[i][0], key=self.times[i][1], thumb=self.thumbs[i])
            for i in sorted({0, len(self.thumbs) // 2, len(self.thumbs) - 1})
        ]

    def finish(
        self, unit: VideoUnit, info: video.VideoInfo, track: Track | None, source_hash: str, witness: Witness
    ) -> Sample | Fault:
        path, labels = Path(unit.path), self.labels
        if self.corrupt is not None:
            return Fault(file=path.name, reason="frame does not decode cleanly", row=self.corrupt)
        clip = self.encoder.finish()
        proof = np.stack(self.thumbs)
        try:
            check_alignment(proof, thumbnails(clip))
            witness.check(self.chosen())
        except ValueError as error:
            return Fault(file=path.name, reason=f"trial {labels.trial}: frame proof fails: {error}")
        stem, frames = path.stem, len(labels.actions)
        xyl = None if track is None else track.xyl[labels.first : labels.first + frames]
        clip_width, clip_height = unit.source.clip.fit(info.width, info.height)
        subject = re.search(r"(?<![A-Za-z0-9])\d+[MF](?![A-Za-z0-9])", stem)
        row = {
            "group": unit.group,
            "source": path.name,
            "source_sha256": source_hash,
            "video": stem,
            "subject": subject.group(0) if subject else "",
            "trial": labels.trial,
            "first_frame": labels.first,
            "frames": frames,
            "fps": float(info.fps),
            "width": info.width,
            "height": info.height,
            "clip_width": clip_width,
            "clip_height": clip_height,
            "codec": unit.source.clip.codec,
            "body_length": float("nan") if xyl is None else body_length(xyl),
            "stimulus_frame": labels.stimulus,
            "actions": labels.actions.tolist(),
            "histogram": np.bincount(labels.actions[labels.actions >= 0], minlength=len(unit.source.classes)).tolist(),
        }
        files = {
            "clip.mp4": clip,
            "actions.npy": npy(labels.actions),
            "proof.npy": npy(proof),
            "meta.json": json.dumps({k: v for k, v in row.items() if v == v and k != "actions"}).encode(),
        }
        if xyl is not None:
            files["keypoints.npy"] = npy(xyl)
        return Sample(key=f"{safe_key(stem)}-t{labels.trial}", files=files, row=row)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def assign(rows: pa.Table, *, options: MouseSource, packing: Packing) -> list[str]:
    """Whole groups, stratified by their frames of each class."""
    return split_by_group(rows, np.stack(rows["histogram"].to_pylist()), packing=packing)


def card(rows: pa.Table, *, found: Scan, options: MouseSource) -> dict:
    return {"classes": list(options.classes)}


MOUSE = Source(
    schema=SCHEMA,
    scan=scan,
    make=make,
    assign=assign,
    card=card,
    hint=(
        "the videos are in another folder or of another kind, or video, DeepLabCut and annotation names do not match "
        "(<stem>.mp4, <stem>DLC_*.csv, prediction_<stem>.mp4_<trial>.csv); --dry_run shows what would be paired"
    ),
)
