"""Levels keep their place: black is black and white is white, for stored clips of full and of limited range."""

from fractions import Fraction

import numpy as np
import pytest

from tarpon.shards.sources.video import clips as video

SIDE, LEVELS = 160, (0, 16, 64, 128, 192, 235, 255)
TOLERANCE = 3.0  # grey levels: the codec's loss. A range mistaken for the other moves black or white by 16 and more


@pytest.fixture(scope="module", params=["mjpeg", "vp9", "h264", "hevc"])
def clip(request, tmp_path_factory) -> tuple[str, bytes]:
    """A frame a level, stored as packing stores it."""
    path = tmp_path_factory.mktemp("levels") / "levels.mp4"
    frames = [np.full((SIDE, SIDE, 3), level, np.uint8) for level in LEVELS]
    video.write_video(path, frames, encoder="libx264", gop=1)
    encoder = video.ClipEncoder(video.ClipFormat(codec=request.param, gop=1), width=SIDE, height=SIDE, fps=Fraction(30))
    for frame in video.decode(path):
        encoder.add(frame)
    return request.param, encoder.finish()


def decoded(content: bytes, *, device: int | None) -> np.ndarray:
    """Mean level of each frame by DALI's decoder."""
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=1, num_threads=1, device_id=device)
    def graph():
        encoded = fn.external_source(source=lambda: [np.frombuffer(content, np.uint8)], batch=True)
        return fn.decoders.video(encoded, device="cpu" if device is None else "mixed")

    pipeline = graph()
    pipeline.build()
    (out,) = pipeline.run()
    out = out if device is None else out.as_cpu()
    return np.array(out.at(0), float).mean((1, 2, 3))


def test_pyav_reads_the_levels_that_were_written(clip):
    _, content = clip
    found = video.frames_at(content, range(len(LEVELS))).astype(float).mean((1, 2, 3))
    np.testing.assert_allclose(found, LEVELS, atol=TOLERANCE)


def test_a_cpu_reads_them_too(clip):
    codec, content = clip
    if not video.CODECS[codec].cpu:
        pytest.skip("decoded on a GPU only")
    np.testing.assert_allclose(decoded(content, device=None), LEVELS, atol=TOLERANCE)


@pytest.mark.gpu
def test_a_gpu_reads_them_too(clip):
    _, content = clip
    np.testing.assert_allclose(decoded(content, device=0), LEVELS, atol=TOLERANCE)
