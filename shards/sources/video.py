"""Videos in and clips out through PyAV: decode in display order, encode once for training, prove the frames."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

THUMB = 8  # side of the luma thumbnails that prove frame alignment, pixels


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
    """Encodes frames, one after another, into one clip in memory."""

    def __init__(self, form: ClipFormat, *, width: int, height: int, fps: Fraction) -> None:
        codec = CODECS[form.codec]
        self._buffer = io.BytesIO()
        self._container = av.open(self._buffer, "w", format="mp4")
        self._stream = stream = self._container.add_stream(codec.encoder, rate=fps, options=dict(codec.options))
        stream.width, stream.height = form.fit(width, height)
        stream.pix_fmt = codec.pix_fmt
        stream.codec_context.gop_size = form.gop
        stream.codec_context.thread_count = 1  # the packing processes are the parallelism
        stream.codec_context.time_base = 1 / fps
        self._scaler = VideoReformatter()
        self.count = 0

    def add(self, frame: av.VideoFrame) -> None:
        stream = self._stream
        # one scaler a clip: frame.reformat sets one up for every frame, which took longer than encoding (1.0 against 0.25 ms)
        picture = self._scaler.reformat(
            frame, width=stream.width, height=stream.height, format=stream.pix_fmt, interpolation="AREA", threads=1
        )
        picture.pts, picture.time_base, picture.pict_type = self.count, stream.codec_context.time_base, 0
        self._container.mux(stream.encode(picture))
        self.count += 1

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A source video as its header declares it."""

    width: int
    height: int
    fps: Fraction
    frames: int  # declared; 0 where the container does not say


def probe(path: Path) -> VideoInfo:
    """ValueError when the file is no readable video."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("no video stream")
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate or Fraction(30)
            return VideoInfo(
                width=stream.width, height=stream.height, fps=Fraction(rate).limit_denominator(1001), frames=stream.frames
            )
    except av.error.FFmpegError as error:
        raise ValueError(f"not a readable video ({error.strerror})") from error


def decode(source: Path | bytes) -> Iterator[av.VideoFrame]:
    """All frames in display order. Stops at the first decoding error with ValueError."""
    with av.open(str(source) if isinstance(source, Path) else io.BytesIO(source)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO" if isinstance(source, Path) else "NONE"
        try:
            yield from container.decode(stream)
        except av.error.FFmpegError as error:
            raise ValueError(f"decoding fails ({error.strerror})") from error


def frames_at(source: Path | bytes, indices: Sequence[int]) -> np.ndarray:
    """(n, H, W, 3) uint8 RGB of the given frames, in the given order, counting frames from 0 in display order."""
    wanted, found = set(map(int, indices)), {}
    for number, frame in enumerate(decode(source)):
        if number in wanted:
            found[number] = frame.to_ndarray(format="rgb24")
            if len(found) == len(wanted):
                break
    missing = sorted(wanted - set(found))
    if missing:
        raise ValueError(f"has no frame {missing[0]}")
    return np.stack([found[int(i)] for i in indices])


def frame_at_time(path: Path, pts: int) -> av.VideoFrame:
    """The frame with this presentation time, reached by seeking: a way to a frame that does not count frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        container.seek(pts, stream=stream, backward=True)
        for frame in container.decode(stream):
            if frame.pts == pts:
                return frame
    raise ValueError(f"seeking finds no frame at pts {pts}")


def thumbnail(frame: av.VideoFrame, scaler: VideoReformatter | None = None) -> np.ndarray:
    """(8, 8) uint8 mean luma. A scaler kept from frame to frame makes it 20 times faster (1.3 against 0.06 ms)."""
    scaler = scaler or VideoReformatter()
    return scaler.reformat(frame, width=THUMB, height=THUMB, format="gray", interpolation="AREA", threads=1).to_ndarray()


def check_alignment(stored: np.ndarray, decoded: np.ndarray, *, tolerance: float = 4.0) -> None:
    """Prove that decoded frames are the ones whose thumbnails were stored.

    Args:
        stored, decoded: (T, 8, 8) uint8.
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
        raise ValueError(f"frames differ from the source by {error[0]:.1f} grey levels on average, {tolerance} allowed")
    if best != 0:
        raise ValueError(f"frames fit the source best when moved by {best} (error {error[best]:.3f} against {error[0]:.3f})")


def thumbnails(source: Path | bytes) -> np.ndarray:
    """(T, 8, 8) uint8 of every frame."""
    scaler = VideoReformatter()
    frames = [thumbnail(frame, scaler) for frame in decode(source)]
    return np.stack(frames) if frames else np.zeros((0, THUMB, THUMB), np.uint8)


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
