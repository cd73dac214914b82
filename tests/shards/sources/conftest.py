"""Videos of every kind, made here: flat colour patches and a square that moves, so that no two frames are alike."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

WIDTH, HEIGHT = 128, 96


def scene(count: int) -> np.ndarray:
    """(T, 96, 128, 3) uint8: red top left, green top right, a dark lower half, and an orange square on its way."""
    frames = np.full((count, HEIGHT, WIDTH, 3), (24, 26, 30), np.uint8)
    frames[:, :40, :48], frames[:, :40, 80:] = (190, 60, 70), (70, 170, 90)
    for t, frame in enumerate(frames):
        x, y = 8 + 7 * t % 104, 44 + 3 * t % 40
        frame[y : y + 12, x : x + 12] = (230, 120, 60)
    return frames


@pytest.fixture(scope="session")
def write_source() -> Callable[..., np.ndarray]:
    """(path, encoder, count=, ...) -> the (T, H, W, 3) RGB frames that the file displays, before any turn."""

    def write(
        path: Path,
        encoder: str = "libx264",
        *,
        count: int = 40,
        pix_fmt: str = "yuv420p",
        options: dict[str, str] | None = None,
        matrix: int | None = None,
        full: bool | None = None,
        turn: float | None = None,
        pts: np.ndarray | None = None,
        gop: int = 12,
        fps: int = 30,
        frames: np.ndarray | None = None,
    ) -> np.ndarray:
        frames = scene(count) if frames is None else frames
        base = Fraction(1, 1000 if pts is not None else fps)
        to = {"dst_colorspace": matrix or 5, "dst_color_range": 2 if full or pix_fmt.startswith("yuvj") else 1}
        with av.open(str(path), "w", format={".m4v": "mp4", ".wmv": "asf"}.get(path.suffix.lower())) as container:
            stream = container.add_stream(encoder, rate=fps, options=options or {})
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt, stream.codec_context.gop_size = pix_fmt, gop
            if pts is not None:
                stream.codec_context.time_base = base
            if matrix is not None:
                stream.codec_context.colorspace = matrix
            if full is not None:
                stream.codec_context.color_range = 2 if full else 1
            if turn is not None:
                stream.set_display_rotation(turn)
            for number, array in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(array, format="rgb24")
                frame = frame.reformat(format=pix_fmt, **(to if pix_fmt.startswith("yuv") else {}))
                frame.pts, frame.time_base = number if pts is None else int(pts[number]), base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return frames

    return write
