"""Small clips of a moving square, drawn and encoded here in every codec that a GPU may decode."""

import io

import av
import numpy as np

from tarpon.shards.sources.video.clips import CODECS

SIZES = (128, 160, 512)  # pixels; decoders of GPUs have least sizes
FRAMES = 24
AV1_ENCODERS = (
    ("libsvtav1", {"preset": "12", "crf": "20"}),
    ("libaom-av1", {"cpu-used": "8", "crf": "20"}),
)  # the first there is
ALL = ("vp9", "mjpeg", "h264", "hevc", "av1")


def draw_frames(size: int) -> np.ndarray:
    """(FRAMES, size, size, 3) uint8: a bright square moving over a gradient."""
    ramp = np.linspace(20, 120, size, dtype=np.uint8)
    frames = np.repeat(np.stack([np.tile(ramp, (size, 1))] * 3, -1)[None], FRAMES, 0)
    side = size // 4
    for number, frame in enumerate(frames):
        left = number * (size - side) // FRAMES
        frame[size // 3 : size // 3 + side, left : left + side] = (220, 160, 90)
    return frames


def encode_clip(codec: str, frames: np.ndarray) -> bytes:
    """frames (T, H, W, 3) uint8 -> an mp4; ValueError where this PyAV has no encoder for the codec."""
    known = CODECS.get(codec)
    ways = [(known.encoder, known.options)] if known else [way for way in AV1_ENCODERS if way[0] in av.codecs_available]
    if not ways:
        raise ValueError(f"this PyAV encodes no {codec}")
    encoder, options = ways[0]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(encoder, rate=30, options=dict(options))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.codec_context.gop_size = known.pix_fmt if known else "yuv420p", 16
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()
