"""Trials out of one pass over a video: each encoded, proven and described while its frames come by."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from tarpon.shards.quarantine import Fault
from tarpon.shards.schema import Sample, sanitise_key
from tarpon.shards.sources.mouse.pose_points import body_length
from tarpon.shards.sources.mouse.pose_track import Track
from tarpon.shards.sources.mouse.trial_labels import Labels
from tarpon.shards.sources.mouse.units import VideoUnit
from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.display import Display
from tarpon.shards.sources.video.proof import Seen, Witness, check_alignment, thumbnail, thumbnails


def cut(
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
            if track is not None and points_of(track, current.labels) is None:
                reason = f"trial {current.labels.trial} has no point in any frame: packed without points"
                yield Fault(file=track.path.name, reason=reason, packed=True)
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

    def choose_frames(self) -> list[Seen]:
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
            witness.check(self.choose_frames())
        except ValueError as error:
            return Fault(file=path.name, reason=f"trial {labels.trial}: frame proof fails: {error}")
        stem, frames = path.stem, len(labels.actions)
        xyl = points_of(track, labels)
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
        return Sample(key=f"{sanitise_key(stem)}-t{labels.trial}", files=files, row=row)


def points_of(track: Track | None, labels: Labels) -> np.ndarray | None:
    """Points (T, K, 3) of a trial; None where the track has none in any of its frames."""
    xyl = None if track is None else track.xyl[labels.first : labels.first + len(labels.actions)]
    return xyl if xyl is not None and np.isfinite(xyl[..., :2]).any() else None


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
