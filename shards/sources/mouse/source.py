"""A mouse lab's folder (videos, DeepLabCut files, one annotation CSV a trial) -> one sample a trial.

Trial N, row r of its CSV is video frame (N - 1) * trial_frames + offset + r; the DeepLabCut rows use the same frames.
A trial is packed only when video, points and labels all cover it; anything else becomes a Fault. Nothing is filled in.
"""

import csv
import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from av.video.reformatter import VideoReformatter

from tarpon.shards.quarantine import Fault
from tarpon.shards.schema import Component, Sample, Schema, safe_key
from tarpon.shards.sources import video
from tarpon.shards.sources.mouse.dlc import MOUSE_POINTS, Track, body_length, read_track

CLASSES = ("rest", "paw_withdraw", "paw_lick", "paw_guard", "paw_shake", "flinch", "walk", "active")
ANNOTATION = re.compile(r"^predictions?_(?P<video>.+\.(?i:mp4))_(?P<trial>\d+)\.csv$")
STIMULUS = ("stimframe", "stim_frame", "stimstart", "laseron", "stim")

SCHEMA = Schema(
    kind="mouse",
    components=(
        Component(name="clip.mp4", holds="the trial's frames, re-encoded; T frames at the stored size"),
        Component(
            name="keypoints.npy",
            holds="(T, K, 3) float32: x, y in source pixels (NaN: not labelled), likelihood",
            optional=True,
        ),
        Component(name="actions.npy", holds="(T,) int8: original 8 classes, -1 unlabelled"),
        Component(name="proof.npy", holds="(T, 8, 8) uint8: mean luma of the source frames"),
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
        ("stimulus_frame", pa.int32()),  # within the trial
        ("actions", pa.list_(pa.int8())),
        ("histogram", pa.list_(pa.int32())),
    ),
)


@dataclass(frozen=True, kw_only=True)
class MouseSource:
    """What to read from a mouse lab's folder, and how."""

    keypoints: tuple[str, ...] = MOUSE_POINTS  # body parts, in the model's order
    pose: str = "dlc"  # dlc: every video needs its DeepLabCut file; none: pack without points
    individual: str | None = None  # which animal of a multi-animal DeepLabCut file
    trial_frames: int = 360  # video frames from one trial's start to the next
    offset: int | None = None  # first labelled frame of a trial; unset: 15 where a CSV has trial_frames - 15 rows, else 0
    group: str = "video"  # split unit: video, or a regex whose first group (or whole match) names it, searched in the stem
    clip: video.ClipFormat = field(default_factory=video.ClipFormat)

    def __post_init__(self) -> None:
        if self.pose not in ("dlc", "none"):
            raise ValueError(f"pose={self.pose!r} must be dlc or none")
        if self.trial_frames < 1 or (self.offset is not None and not 0 <= self.offset < self.trial_frames):
            raise ValueError(f"trial_frames={self.trial_frames} must be >= 1 and offset={self.offset} in [0, trial_frames)")
        if len(set(self.keypoints)) != len(self.keypoints) or (self.pose == "dlc" and len(self.keypoints) < 2):
            raise ValueError(f"keypoints={','.join(self.keypoints)} must be two or more different names")
        if self.group != "video":
            try:
                re.compile(self.group)
            except re.error as error:
                raise ValueError(f"group={self.group!r} is no regular expression ({error}); use video or mend it") from error

    def group_of(self, stem: str) -> str:
        if self.group == "video":
            return stem
        match = re.search(self.group, stem)
        if match is None:
            raise ValueError(f"group={self.group!r} matches nothing in {stem!r}; use video, or a pattern every name has")
        return match.group(1) if match.re.groups else match.group(0)


@dataclass(frozen=True, kw_only=True)
class VideoUnit:
    """One video with all that belongs to it."""

    path: str
    points: str | None  # DeepLabCut file
    trials: tuple[tuple[int, str], ...]  # (trial number, annotation file), ascending; empty: points only
    source: MouseSource

    def fingerprint(self) -> str:
        files = [self.path, self.points, *(path for _, path in self.trials)]
        return json.dumps([(Path(f).name, (s := Path(f).stat()).st_size, s.st_mtime_ns) for f in files if f])

    def size(self) -> int:
        """Frames, about: for the progress bar and for cutting shards."""
        return max(len(self.trials), 1) * self.source.trial_frames


def scan(videos: Path, annotations: Path | None, source: MouseSource) -> tuple[list[VideoUnit], list[Fault]]:
    """Match names, read nothing else. Order is by name, whatever the file system says."""
    for folder in (videos, annotations):
        if folder is not None and not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
    names = sorted(p.name for p in videos.iterdir() if p.suffix.lower() == ".mp4" and not p.name.startswith("._"))
    found: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    faults = []
    for path in sorted(annotations.iterdir()) if annotations else []:
        if path.name.startswith(".") or path.suffix.lower() != ".csv":
            continue
        match = ANNOTATION.match(path.name)
        if match is None:
            faults.append(Fault(file=path.name, reason="name is not prediction_<video>.mp4_<trial>.csv"))
        elif match["video"] not in names:
            faults.append(Fault(file=path.name, reason=f"its video {match['video']} is not in the videos folder"))
        else:
            found[match["video"]][int(match["trial"])].append(str(path))
    units = []
    for name in names:
        stem = name[: -len(".mp4")]
        points, problem = _points_file(videos, stem) if source.pose == "dlc" else (None, None)
        if problem:
            faults.append(Fault(file=name, reason=problem))
            continue
        trials = []
        for trial, files in sorted(found[name].items()):
            if len(files) > 1 or trial < 1:
                reason = f"trial {trial} is annotated {len(files)} times" if len(files) > 1 else "trials count from 1"
                faults += [Fault(file=Path(file).name, reason=reason) for file in files]
            else:
                trials.append((trial, files[0]))
        if trials or not found[name]:
            source.group_of(stem)
            units.append(VideoUnit(path=str(videos / name), points=points, trials=tuple(trials), source=source))
    return units, faults


def _points_file(folder: Path, stem: str) -> tuple[str | None, str | None]:
    """The DeepLabCut file of exactly this stem, or what is wrong."""
    pattern = re.compile(re.escape(stem) + r"DLC_.+\.(csv|h5)$")
    files = sorted(p for p in folder.iterdir() if pattern.match(p.name))
    tables = [p for p in files if p.suffix == ".csv"] or files
    if not tables:
        return None, f"no DeepLabCut file {stem}DLC_*.csv (pack with --pose none to do without points)"
    if len(tables) > 1:
        return None, f"{len(tables)} DeepLabCut files ({', '.join(p.name for p in tables)}); leave one"
    return str(tables[0]), None


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """One annotation CSV, placed on the video."""

    trial: int
    first: int  # video frame of row 0
    actions: np.ndarray  # (T,) int8
    stimulus: int  # frame within the trial


def read_labels(path: Path, trial: int, source: MouseSource) -> Labels:
    """ValueError in one line, starting with `row N: ` where one row is to blame."""
    with open(path, newline="", encoding="utf-8-sig") as file:  # a byte order mark would hide the first column's name
        table = csv.DictReader(file)
        columns = {name.strip().lower(): name for name in table.fieldnames or []}
        rows = list(table)
    if "action" not in columns:
        raise ValueError(f"no Action column; it has {', '.join(columns) or 'nothing'}")
    actions = np.array([_action(row[columns["action"]], number) for number, row in enumerate(rows)], np.int8)
    begin = 0
    if "frame" in columns and rows:
        frames = [(row[columns["frame"]] or "").strip() for row in rows]
        if not all(re.fullmatch(r"\d+(\.0*)?", text) for text in frames):
            raise ValueError("Frame column holds something other than whole numbers")
        numbers = [int(float(text)) for text in frames]
        begin = numbers[0]
        if numbers != list(range(begin, begin + len(numbers))):
            raise ValueError("Frame column does not count up by 1")
    offset = begin if begin > 0 else source.offset
    if offset is None:
        offset = 15 if len(rows) == source.trial_frames - 15 else 0
    full = source.trial_frames - offset
    if len(rows) != full and not (begin > 0 and 0 < len(rows) < full):
        raise ValueError(
            f"{len(rows)} rows; a trial of {source.trial_frames} frames has {source.trial_frames}, or "
            f"{source.trial_frames - 15} from frame 15 (--trial_frames, --offset)"
        )
    stimulus = 60
    for name in STIMULUS:
        if name in columns and (text := (rows[0][columns[name]] or "").strip()):
            if not re.fullmatch(r"\d+(\.\d*)?", text):
                raise ValueError(f"row 0: stimulus frame {text!r} is not a number")
            stimulus = int(float(text))
            break
    return Labels(trial=trial, first=(trial - 1) * source.trial_frames + offset, actions=actions, stimulus=stimulus)


def _action(text: str | None, number: int) -> int:
    text = (text or "").strip()
    if not text:
        raise ValueError(f"row {number}: Action is blank")
    if not re.fullmatch(r"\d+(\.0*)?", text) or int(float(text)) >= len(CLASSES):
        raise ValueError(f"row {number}: Action {text} is not one of 0 to {len(CLASSES) - 1}")
    return int(float(text))


def make(unit: VideoUnit) -> Iterator[Sample | Fault]:
    """One pass over a video: its trials as samples, what does not fit as faults."""
    path, name = Path(unit.path), Path(unit.path).name
    try:
        info = video.probe(path)
    except ValueError as error:
        yield Fault(file=name, reason=str(error))
        return
    track = None
    if unit.points:
        try:
            track = read_track(Path(unit.points), unit.source.keypoints, individual=unit.source.individual)
        except ValueError as error:
            yield Fault(file=Path(unit.points).name, reason=str(error))
            return
    wanted = []
    for trial, file in unit.trials:
        try:
            labels = read_labels(Path(file), trial, unit.source)
        except (ValueError, UnicodeDecodeError) as error:
            row = re.match(r"row (\d+): (.*)", str(error))
            yield Fault(file=Path(file).name, reason=row[2] if row else str(error), row=int(row[1]) if row else None)
            continue
        end = labels.first + len(labels.actions)
        if track is not None and end > len(track.xyl):
            yield Fault(
                file=Path(file).name, reason=f"needs frames up to {end - 1}, {Path(unit.points).name} has {len(track.xyl)} rows"
            )
        else:
            wanted.append((labels, Path(file).name))
    if unit.trials and not wanted:
        return
    with open(path, "rb") as file:
        source_hash = hashlib.file_digest(file, "sha256").hexdigest()
    yield from _cut(unit, info, track, wanted, source_hash)


def _cut(
    unit: VideoUnit, info: video.VideoInfo, track: Track | None, wanted: list, source_hash: str
) -> Iterator[Sample | Fault]:
    """Decode once, front to back, encoding each trial as its frames come by."""
    path, span = Path(unit.path), unit.source.trial_frames
    whole = not unit.trials  # no annotations: every full trial, for its points
    blank = np.full(span, -1, np.int8)
    queue = sorted(wanted, key=lambda item: item[0].first)
    current: _Cutting | None = None
    count, problem, tainted = 0, None, False
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
        tainted = frame.is_corrupt or (tainted and not frame.key_frame)  # damage drifts on to the next key frame, unmarked
        if current is not None and current.add(frame, clean=not tainted):
            yield current.finish(unit, info, track, source_hash)
            current = None
        count += 1
    left = ([(current.labels, current.file)] if current else []) + queue
    for labels, file in left if not whole else []:
        end = labels.first + len(labels.actions)
        why = f": {problem}" if problem else ""
        yield Fault(file=file, reason=f"needs frames up to {end - 1}, {path.name} gives {count}{why}")
    if whole and (problem or count < span):
        yield Fault(file=path.name, reason=problem or f"{count} frames, a trial has {span}")
    if whole and track is not None and len(track.xyl) < (full := count // span * span):
        yield Fault(
            file=Path(unit.points).name, reason=f"{len(track.xyl)} rows, the whole trials of {path.name} have {full} frames"
        )


class _Cutting:
    """A trial while its frames come by."""

    def __init__(self, *, labels: Labels, file: str, encoder: video.ClipEncoder) -> None:
        self.labels, self.file, self.encoder = labels, file, encoder
        self.scaler = VideoReformatter()
        self.thumbs: list[np.ndarray] = []
        self.times: list[int | None] = []
        self.corrupt: int | None = None

    def add(self, frame: object, *, clean: bool) -> bool:
        """True when that was the trial's last frame."""
        if not clean and self.corrupt is None:
            self.corrupt = self.labels.first + len(self.thumbs)
        self.thumbs.append(video.thumbnail(frame, self.scaler))
        self.times.append(frame.pts)
        self.encoder.add(frame)
        return len(self.thumbs) == len(self.labels.actions)

    def finish(self, unit: VideoUnit, info: video.VideoInfo, track: Track | None, source_hash: str) -> Sample | Fault:
        path, labels = Path(unit.path), self.labels
        if self.corrupt is not None:
            return Fault(file=path.name, reason="frame does not decode cleanly", row=self.corrupt)
        clip = self.encoder.finish()
        proof = np.stack(self.thumbs)
        try:
            video.check_alignment(proof, video.thumbnails(clip))
            _check_by_time(path, proof, self.times)
        except ValueError as error:
            return Fault(file=path.name, reason=f"trial {labels.trial}: frame proof fails: {error}")
        stem, frames = path.name[: -len(".mp4")], len(labels.actions)
        group = unit.source.group_of(stem)
        xyl = None if track is None else track.xyl[labels.first : labels.first + frames]
        clip_width, clip_height = unit.source.clip.fit(info.width, info.height)
        subject = re.search(r"(?<![A-Za-z0-9])\d+[MF](?![A-Za-z0-9])", stem)
        row = {
            "group": group,
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
            "histogram": np.bincount(labels.actions[labels.actions >= 0], minlength=len(CLASSES)).tolist(),
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


def _check_by_time(path: Path, proof: np.ndarray, times: list[int | None]) -> None:
    """A few source frames, reached by seeking to their time stamps, must be the frames that counting gave."""
    for i in (0, len(proof) // 2, len(proof) - 1):
        if times[i] is not None:
            again = video.thumbnail(video.frame_at_time(path, times[i]))
            if np.abs(again.astype(int) - proof[i]).max() > 1:
                raise ValueError(f"frame {i} by counting and by time stamp {times[i]} are different pictures")


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def settings(source: MouseSource) -> str:
    """Everything that shapes the samples, as JSON: part of every shard's fingerprint and of the card."""
    return json.dumps(asdict(source), sort_keys=True)
