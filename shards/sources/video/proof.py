"""Proof that stored frames are the source's: small RGB thumbnails, as displayed, of every frame in both halves."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.display import Display

THUMB = 8  # side of a thumbnail, pixels


def thumbnail(frame: av.VideoFrame, display: Display | None = None) -> np.ndarray:
    """(8, 8, 3) uint8 mean RGB as displayed. A display kept from frame to frame makes it 20 times faster (0.05 ms)."""
    # rgb24 would have 4 x 8 colours, another grid after a quarter turn: half the tolerance on colour patches
    return (display or Display()).rgb(frame, width=THUMB, height=THUMB, form="gbrp")


def thumbnails(source: Path | bytes, *, luma: bool = False) -> np.ndarray:
    """(T, 8, 8, 3) uint8 of every frame; with `luma` (T, 8, 8), the proof of shards packed before colours were compared."""
    display = Display()
    shape = (THUMB, THUMB) if luma else (THUMB, THUMB, 3)
    frames = [
        display.luma(frame, width=THUMB, height=THUMB) if luma else thumbnail(frame, display) for frame in video.decode(source)
    ]
    return np.stack(frames) if frames else np.zeros((0, *shape), np.uint8)


def check_alignment(stored: np.ndarray, decoded: np.ndarray, *, tolerance: float = 4.0) -> None:
    """Prove that decoded frames are the ones whose thumbnails were stored.

    Args:
        stored, decoded: (T, ...) uint8 thumbnails.
        tolerance: grey levels of mean absolute difference allowed for the codec.

    Raises:
        ValueError: another count, pictures too different, or a shift of one or two frames that fits better.
    """
    if len(stored) != len(decoded):
        raise ValueError(f"{len(decoded)} frames decode, {len(stored)} were packed")
    a, b = stored.astype(np.float32), decoded.astype(np.float32)
    error = {0: float(np.abs(a - b).mean())}
    for shift in (-2, -1, 1, 2):
        if len(a) > 2 * abs(shift):
            one, two = (a[shift:], b[:-shift]) if shift > 0 else (a[:shift], b[-shift:])
            error[shift] = float(np.abs(one - two).mean())
    best = min(error, key=lambda shift: error[shift] + (1e-3 if shift else 0))  # a still clip fits every shift
    if error[0] > tolerance:
        raise ValueError(
            f"frames differ from the source by {error[0]:.1f} grey levels on average, {tolerance} allowed"
            f"{_colour(a, b, tolerance=tolerance)}"
        )
    if best != 0:
        raise ValueError(f"frames fit the source best when moved by {best} (error {error[best]:.3f} against {error[0]:.3f})")


def _colour(a: np.ndarray, b: np.ndarray, *, tolerance: float) -> str:
    """What to add where the colours alone are to blame: brightness agrees and a cast is left."""
    if a.ndim == 4 and np.abs(a.mean(-1) - b.mean(-1)).mean() <= tolerance:
        return "; their brightness agrees, their colours do not"
    return ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """A frame as the first pass saw it."""

    number: int  # in display order, from 0
    pts: int | None
    key: int | None  # pts of the last key frame at or before it
    thumb: np.ndarray  # (8, 8, 3) uint8


class Witness:
    """Looks at frames of a video a second time, with a decoder of its own on one thread, and compares.

    The container's packets, undecoded, say how many frames come before a time stamp; a seek by time stamp, which counts no
    frames, says what is to be seen there. It decodes on where the next frame is in the group of pictures at hand, so never
    more than one pass. Where either disagrees nothing is proved yet (open groups of pictures, containers without time stamps
    or index, hidden frames, streams that hold decoder settings in their first frame only): then, once and for all, it
    decodes from the first frame on and counts, and that decides.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._display = Display()
        self._container: av.container.InputContainer | None = None
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._sought: int | None = None  # pts that is looked for: before it, frames that no other needs are not decoded
        self._times: list[int] | None = None  # of all packets that are shown, ascending; empty where some have none
        self._at: int | None = None  # pts of the last frame seen, when seeking
        self._count: int | None = None  # frames seen, once counting

    def check(self, frames: Sequence[Seen]) -> None:
        """ValueError naming the first that is another picture. Give frames in ascending order, from call to call too."""
        for seen in frames:
            if self._count is None and not (self._placed(seen) and self._agrees(self._seek(seen), seen)):
                self._open()
                self._count = 0
            if self._count is not None and not self._agrees(self._count_to(seen), seen):
                raise ValueError(f"frame {seen.number} is another picture when the video is decoded a second time")

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _agrees(self, frame: av.VideoFrame | None, seen: Seen) -> bool:
        if frame is None or frame.pts != seen.pts:
            return False
        return np.abs(thumbnail(frame, self._display).astype(int) - seen.thumb).max() <= 1

    def _placed(self, seen: Seen) -> bool:
        """Whether as many packets are shown before this frame as frames were counted before it."""
        if self._times is None:
            with av.open(str(self._path)) as container:
                packets = container.demux(video.video_stream(container))
                times = [packet.pts for packet in packets if packet.size and not packet.is_discard]
            self._times = [] if None in times else sorted(times)
        return seen.pts is not None and bisect_left(self._times, seen.pts) == seen.number < len(self._times)

    def _open(self) -> None:
        self.close()
        self._container = av.open(str(self._path))
        stream = video.video_stream(self._container)
        stream.thread_type = "NONE"
        self._sought = None
        self._frames = self._decode(stream)

    def _decode(self, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        for packet in self._container.demux(stream):
            needless = self._sought is not None and packet.pts is not None and packet.pts < self._sought
            stream.codec_context.skip_frame = "NONREF" if needless else "DEFAULT"
            yield from packet.decode()

    def _seek(self, seen: Seen) -> av.VideoFrame | None:
        try:
            if self._container is None:
                self._open()
            self._sought = seen.pts
            if self._at is None or seen.key is None or not seen.key <= self._at < seen.pts:
                stream = video.video_stream(self._container)
                self._container.seek(seen.pts, stream=stream, backward=True)
                self._frames = self._decode(stream)
            for frame in self._frames:
                self._at = frame.pts
                if frame.pts is None or frame.pts >= seen.pts:
                    return frame
        except av.error.FFmpegError:
            pass  # what cannot be sought is counted
        return None

    def _count_to(self, seen: Seen) -> av.VideoFrame | None:
        try:
            for frame in self._frames:
                self._count += 1
                if self._count > seen.number:
                    return frame
        except av.error.FFmpegError as error:
            raise ValueError(f"a second decoding fails before frame {seen.number} ({error.strerror})") from error
        return None
