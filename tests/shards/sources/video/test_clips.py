"""Videos: stored sizes, and the right count in every codec."""

from fractions import Fraction

import av
import numpy as np
import pytest

from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.display import Display
from tarpon.shards.sources.video.proof import check_alignment, thumbnail, thumbnails


def moving(count: int, *, width: int = 96, height: int = 80) -> np.ndarray:
    """(T, H, W, 3): a soft blob that goes round, so that neighbours differ everywhere a little."""
    y, x = np.mgrid[:height, :width]
    frames = []
    for t in range(count):
        cx, cy = width / 2 + width / 4 * np.cos(t / 6), height / 2 + height / 4 * np.sin(t / 6)
        frames.append(60 + 150 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 200))
    return np.repeat(np.round(frames).astype(np.uint8)[..., None], 3, -1)


def encode(frames: np.ndarray, form: video.ClipFormat) -> bytes:
    encoder = video.ClipEncoder(form, width=frames.shape[2], height=frames.shape[1], fps=Fraction(30))
    for frame in frames:
        encoder.add(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p"))
    return encoder.finish()


@pytest.mark.parametrize(
    ("source", "options", "stored"),
    [
        ((512, 512), {}, (224, 224)),
        ((640, 480), {}, (304, 224)),
        ((480, 640), {}, (224, 304)),
        ((128, 128), {}, (128, 128)),
        ((396, 406), {}, (224, 224)),
        ((396, 406), {"short_side": 512}, (400, 400)),
        ((100, 37), {}, (96, 32)),
        ((396, 406), {"multiple": 2, "short_side": 512}, (396, 406)),
        ((10, 10), {}, (16, 16)),
    ],
)
def test_stored_size(source, options, stored):
    assert video.ClipFormat(**options).fit(*source) == stored


@pytest.mark.parametrize("wrong", [{"codec": "divx"}, {"gop": 0}, {"short_side": 8}, {"multiple": 7}])
def test_impossible_formats_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}"):
        video.ClipFormat(**wrong)


@pytest.mark.parametrize("codec", video.CODECS)
def test_every_codec_keeps_every_frame(codec):
    frames = moving(37)
    clip = encode(frames, video.ClipFormat(codec=codec, gop=8))
    assert clip == encode(frames, video.ClipFormat(codec=codec, gop=8))
    decoded = list(video.decode(clip))
    assert [(frame.width, frame.height) for frame in decoded] == [(96, 80)] * 37
    back = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded]).astype(float)
    error = {shift: np.abs(back[2:-2] - frames[2 + shift : len(frames) - 2 + shift]).mean() for shift in (-1, 0, 1)}
    assert error[0] < 2
    assert error[0] < error[-1] / 2
    assert error[0] < error[1] / 2
    keys = [i for i, frame in enumerate(decoded) if frame.key_frame]
    assert keys == (list(range(37)) if codec == "mjpeg" else list(range(0, 37, 8)))
    np.testing.assert_array_equal(
        video.frames_at(clip, [30, 2, 2]), np.stack([decoded[i].to_ndarray(format="rgb24") for i in (30, 2, 2)])
    )
    with pytest.raises(ValueError, match="has no frame 37"):
        video.frames_at(clip, [36, 37])


@pytest.mark.parametrize("codec", video.CODECS)
def test_clips_say_how_they_are_coloured(codec):
    (frame, *_) = video.decode(encode(moving(3), video.ClipFormat(codec=codec)))
    assert frame.colorspace in (5, 6)  # two numbers of one matrix, BT.601
    assert frame.color_range == (video.FULL if codec == "mjpeg" else video.LIMITED)


def test_what_is_no_video_is_told(tmp_path):
    (tmp_path / "a.mp4").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(ValueError, match="not a readable video"):
        video.probe(tmp_path / "a.mp4")


def test_write_video_and_probe(tmp_path):
    video.write_video(tmp_path / "a.mp4", list(moving(12)), fps=25)
    info = video.probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.fps, info.frames) == (96, 80, 25, 12)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert len(thumbnails(tmp_path / "a.mp4")) == 12


def test_a_real_video_of_odd_size(shared_data):
    path = shared_data / "mirror_mouse" / "test_vid.mp4"
    info = video.probe(path)
    assert (info.width, info.height, info.fps) == (396, 406, 250)
    encoder = video.ClipEncoder(video.ClipFormat(), width=info.width, height=info.height, fps=info.fps)
    proof, display = [], Display()
    for number, frame in enumerate(video.decode(path)):
        if number == 60:
            break
        proof.append(thumbnail(frame, display))
        encoder.add(frame)
    clip = encoder.finish()
    assert {(frame.width, frame.height) for frame in video.decode(clip)} == {(224, 224)}
    check_alignment(np.stack(proof), thumbnails(clip))
