"""Videos in and clips out through PyAV: decode in display order, encode once for training."""

import io
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tarpon.shards.decode_threads import is_single
from tarpon.shards.sources.video.display import Display, check_matrix, upright_size

BT470BG, LIMITED, FULL = 5, 1, 2  # FFmpeg's numbers of the colour matrix and of the ranges


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How a clip is encoded."""

    encoder: str  # FFmpeg's name
    pix_fmt: str
    options: dict[str, str]
    cpu: bool  # DALI decodes it on a CPU


# VP9 and H.264 keep 48 dB PSNR of luma at 224 pixels, HEVC 44 dB (fly and synthetic video); an NVIDIA GPU decodes them all.
CODECS = {
    "vp9": Codec(
        encoder="libvpx-vp9",
        pix_fmt="yuv420p",
        cpu=True,
        options={"deadline": "realtime", "cpu-used": "8", "crf": "18", "b": "0", "lag-in-frames": "0"},
    ),
    "mjpeg": Codec(encoder="mjpeg", pix_fmt="yuvj420p", cpu=True, options={"qmin": "3", "qmax": "3"}),
    "h264": Codec(encoder="libx264", pix_fmt="yuv420p", cpu=False, options={"preset": "veryfast", "crf": "18", "bf": "0"}),
    "hevc": Codec(
        encoder="libx265",
        pix_fmt="yuv420p",
        cpu=False,
        options={"preset": "ultrafast", "crf": "20", "x265-params": "log-level=error:pools=1:frame-threads=1:bframes=0"},
    ),
}


@dataclass(frozen=True, kw_only=True)
class ClipFormat:
    """What a stored clip looks like."""

    codec: str = "vp9"  # vp9 | mjpeg decode on CPU and GPU; h264 | hevc on a GPU only
    gop: int = 16  # frames between key frames; random access on a GPU falls as it grows
    short_side: int = (
        224  # pixels; smaller sources keep their size. The default model's input, so that nothing is resized again
    )
    multiple: int = 16  # both sides are multiples of it, so that decoders are not padded

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise ValueError(f"codec {self.codec!r} must be one of {', '.join(CODECS)}")
        if self.gop < 1 or self.short_side < 16 or self.multiple not in (2, 4, 8, 16, 32, 64):
            raise ValueError(
                f"gop={self.gop} must be >= 1, short_side={self.short_side} >= 16, "
                f"multiple={self.multiple} one of 2, 4, 8, 16, 32, 64"
            )

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """Stored (width, height) of a source: short side at most `short_side`, each side the nearest multiple."""
        scale = min(1.0, self.short_side / min(width, height))
        return tuple(max(self.multiple, round(side * scale / self.multiple) * self.multiple) for side in (width, height))


class ClipEncoder:
    """Encodes frames as their source displays them, one after another, into one clip in memory."""

    def __init__(self, form: ClipFormat, *, width: int, height: int, fps: Fraction) -> None:
        """width, height: of the upright frames."""
        codec = CODECS[form.codec]
        self._buffer = io.BytesIO()
        self._container = av.open(self._buffer, "w", format="mp4")
        self._stream = stream = self._container.add_stream(codec.encoder, rate=fps, options=dict(codec.options))
        stream.width, stream.height = form.fit(width, height)
        stream.pix_fmt = codec.pix_fmt
        stream.codec_context.gop_size = form.gop
        stream.codec_context.thread_count = 1  # the packing processes are the parallelism
        stream.codec_context.time_base = 1 / fps
        stream.codec_context.colorspace = BT470BG  # BT.601, as `Display.bt601` makes the frames
        stream.codec_context.color_range = FULL if codec.pix_fmt.startswith("yuvj") else LIMITED
        self._display = Display()
        self.count = 0

    def add(self, frame: av.VideoFrame) -> None:
        stream = self._stream
        picture = self._display.bt601(frame, width=stream.width, height=stream.height, pix_fmt=stream.pix_fmt)
        picture.pts, picture.time_base, picture.pict_type = self.count, stream.codec_context.time_base, 0
        self._container.mux(stream.encode(picture))
        self.count += 1

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A source video as its header and first frame declare it."""

    width: int  # of the upright frame
    height: int
    fps: Fraction
    frames: int  # declared; 0 where the container does not say
    seconds: float | None  # declared length of the video alone; None where the container does not say


def video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The stream that players show: a cover picture may come first."""
    stream = container.streams.best("video")
    if stream is None:
        raise ValueError("no video stream")
    return stream


def probe(path: Path) -> VideoInfo:
    """ValueError when the file is no readable video."""
    try:
        with av.open(str(path)) as container:
            stream = video_stream(container)
            stream.thread_type = "NONE"
            rate = Fraction(stream.average_rate or stream.guessed_rate or 30).limit_denominator(1001)
            frame = next(container.decode(stream), None)
            if frame is None:
                raise ValueError("holds no frame that can be decoded")
            check_matrix(frame)
            width, height = upright_size(frame)
            return VideoInfo(
                width=width, height=height, fps=rate or Fraction(30), frames=stream.frames, seconds=_seconds(container, stream)
            )
    except av.error.FFmpegError as error:
        raise ValueError(f"not a readable video ({error.strerror})") from error


def _seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):  # Matroska's, of the track
        return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def decode(source: Path | bytes, *, tally: Counter | None = None) -> Iterator[av.VideoFrame]:
    """All frames in display order, as they are coded: `Display` shows them. Stops at the first decoding error with ValueError.

    Args:
        tally: counts the "packets" that the file gave.
    """
    with av.open(str(source) if isinstance(source, Path) else io.BytesIO(source)) as container:
        stream = video_stream(container)
        stream.thread_type = "AUTO" if isinstance(source, Path) and not is_single() else "NONE"
        try:
            for packet in container.demux(stream):
                if tally is not None and packet.dts is not None:
                    tally["packets"] += 1
                yield from packet.decode()
        except av.error.FFmpegError as error:
            raise ValueError(f"decoding fails ({error.strerror})") from error


def frames_at(source: Path | bytes, indices: Sequence[int]) -> np.ndarray:
    """(n, H, W, 3) uint8 RGB of the given frames as displayed, in the given order, counting frames from 0 in display order."""
    wanted, found, display = set(map(int, indices)), {}, Display()
    for number, frame in enumerate(decode(source)):
        if number in wanted:
            found[number] = display.rgb(frame)
            if len(found) == len(wanted):
                break
    missing = sorted(wanted - set(found))
    if missing:
        raise ValueError(f"has no frame {missing[0]}")
    return np.stack([found[int(i)] for i in indices])


def write_video(path: Path, frames: Sequence[np.ndarray], *, fps: int = 30, encoder: str = "libx264", gop: int = 250) -> None:
    """(H, W, 3) uint8 RGB frames into a file; for pictures of results and for tests."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        with av.open(str(draft), "w") as container:
            stream = container.add_stream(encoder, rate=fps, options={"crf": "18"})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", gop
            for array in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
            container.mux(stream.encode(None))
        draft.replace(path)
