"""DALI reads a stored clip as the colours that its source displayed, whatever matrix and range the source had."""

from fractions import Fraction

import av
import numpy as np
import pytest

from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.display import Display

dali = pytest.importorskip("nvidia.dali")

TOLERANCE = 4.0  # grey levels of a flat colour: 8-bit coding in two ranges, and the codec
CODED = ((60, 128, 128), (120, 90, 160), (190, 140, 110), (30, 124, 133), (100, 150, 100))  # luma and two colour differences


def source_frame(yuv: tuple[int, int, int], *, matrix: int, full: bool) -> av.VideoFrame:
    frame = av.VideoFrame(64, 48, "yuv420p")
    for plane, value in zip(frame.planes, yuv, strict=True):
        plane.update(np.full(plane.buffer_size, value, np.uint8))
    frame.colorspace, frame.color_range = matrix, video.FULL if full else video.LIMITED
    return frame


def read_by_dali(clip: bytes) -> np.ndarray:
    """(T, H, W, 3) uint8"""
    pipe = dali.Pipeline(batch_size=1, num_threads=1, device_id=None)
    with pipe:
        encoded = dali.fn.external_source(source=lambda: [np.frombuffer(clip, np.uint8)], batch=True)
        pipe.set_outputs(dali.fn.decoders.video(encoded, device="cpu"))
    pipe.build()
    return np.array(pipe.run()[0].at(0))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 2, 5, 9])  # BT.709, none said, BT.601, BT.2020
@pytest.mark.parametrize("codec", [name for name, codec in video.CODECS.items() if codec.cpu])
def test_dali_reads_the_colours_that_the_source_displays(codec, matrix, full):
    encoder = video.ClipEncoder(video.ClipFormat(codec=codec), width=64, height=48, fps=Fraction(30))
    wanted = []
    for yuv in CODED:
        frame = source_frame(yuv, matrix=matrix, full=full)
        wanted.append(Display().rgb(frame)[24, 32])
        encoder.add(frame)
    clip = encoder.finish()
    for read in (read_by_dali(clip), video.frames_at(clip, range(len(CODED)))):
        assert np.abs(read[:, 24, 32].astype(float) - wanted).max() <= TOLERANCE
