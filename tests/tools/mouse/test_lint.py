"""Checks of one mouse trial, on samples as this version and the one before packed them."""

import io
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from tarpon.shards.sources.mouse.cutting import npy
from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.proof import thumbnails
from tarpon.tools.mouse.lint import MOUSE

FRAMES = 20


def scene() -> np.ndarray:
    """(T, 64, 96, 3) uint8: mid-grey floor, a dark animal on its way."""
    frames = np.full((FRAMES, 64, 96, 3), 128, np.uint8)
    for t, frame in enumerate(frames):
        frame[20:44, 4 + 3 * t : 28 + 3 * t] = 8
    return frames


def stored_before(*, full: bool) -> bytes:
    """A clip whose luma is the source's own: of a full-range source without conversion, and no tags."""
    buffer, codec = io.BytesIO(), video.CODECS["vp9"]
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec.encoder, rate=30, options=dict(codec.options))
        stream.height, stream.width, stream.pix_fmt = 64, 96, codec.pix_fmt
        for number, frame in enumerate(scene()):
            coded = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=5, dst_color_range=2 if full else 1
            )
            coded.color_range, coded.pts = 1, number
            container.mux(stream.encode(coded))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def stored_now(codec: str) -> bytes:
    encoder = video.ClipEncoder(video.ClipFormat(codec=codec), width=96, height=64, fps=Fraction(30))
    for frame in scene():
        encoder.add(av.VideoFrame.from_ndarray(frame, format="rgb24"))
    return encoder.finish()


def sample(clip: bytes, *, luma: bool, codec: str = "vp9") -> SimpleNamespace:
    row = {"frames": FRAMES, "codec": codec, "clip_width": 96, "clip_height": 64, "width": 96, "height": 64}
    holds = "(T, 8, 8) uint8: mean luma of the source frames" if luma else "(T, 8, 8, 3) uint8: mean RGB"
    files = {
        "clip.mp4": clip,
        "proof.npy": npy(thumbnails(clip, luma=luma)),
        "actions.npy": npy(np.zeros(FRAMES, np.int8)),
    }
    return SimpleNamespace(row=row, files=files, card={"components": {"proof.npy": holds}})


def findings(stored: SimpleNamespace) -> list[str]:
    return [name for name in ("arrays", "frames", "colours", "points") for _ in MOUSE.checks[name](stored)]


@pytest.mark.parametrize(("full", "found"), [(False, []), (True, ["colours"])])
def test_a_full_range_video_packed_by_the_version_before_is_found(full, found):
    """Its proof was of luma, which agrees with the crushed clip: only the clip gives it away."""
    clip = stored_before(full=full)
    assert findings(sample(clip, luma=True)) == found
    dark = video.frames_at(clip, [10])[0][24:40, 40:52]
    assert (dark.mean() < 1) == full


@pytest.mark.parametrize("codec", video.CODECS)
def test_dark_scenes_of_this_version_are_sound(codec):
    assert findings(sample(stored_now(codec), luma=False, codec=codec)) == []


def test_colours_that_changed_behind_the_proof_are_found():
    stored = sample(stored_now("vp9"), luma=False)
    proof = np.load(io.BytesIO(stored.files["proof.npy"])).astype(int) + np.array([24, 0, -24])
    stored.files["proof.npy"] = npy(proof.clip(0, 255).astype(np.uint8))
    (told,) = MOUSE.checks["frames"](stored)
    assert "their colours do not" in told


def trial(card: dict | None = None, **row) -> SimpleNamespace:
    """A stored trial of 10 frames as far as its labels, its stimulus and its sources go."""
    told = {"frames": 10, "actions": [0] * 10, "histogram": [10, 0], "stimulus_frame": 60, "source": "m.mp4"} | row
    files = {"actions.npy": npy(np.array(told["actions"], np.int8)), "keypoints.npy": b""}
    return SimpleNamespace(row=told, files=files, card={"classes": ["rest", "walk"]} | (card or {}))


@pytest.mark.parametrize(
    ("check", "stored", "told"),
    [
        ("stimulus", trial(stimulus_frame=10), "stimulus_frame is 10, a trial has the frames 0 to 9"),
        ("stimulus", trial({"settings": {"trial_frames": 360}}, stimulus_frame=419), "stimulus_frame is 419"),
        ("stimulus", trial(stimulus_frame=-3), "stimulus_frame is -3"),
        ("labels", trial(actions=[2, *[0] * 9], histogram=[9, 0]), "actions reach from 0 to 2, -1 (not scored) to 1 are the"),
        ("labels", trial(actions=[-2, *[0] * 9], histogram=[9, 0]), "actions reach from -2 to 0"),
        ("source", trial(source="mDLC_resnet50_x_labeled.mp4"), "mDLC_resnet50_x_labeled.mp4 is a rendering with points"),
        ("source", trial(source="m_annotated.mp4"), "m_annotated.mp4 is a rendering"),
        (
            "source",
            trial({"settings": {"scorer": "DLC_tarpon"}}),
            "its points are Tarpon's own predictions (--scorer DLC_tarpon)",
        ),
    ],
)
def test_what_the_version_before_packed_by_mistake_is_named(check, stored, told):
    (said,) = MOUSE.checks[check](stored)
    assert told in said


@pytest.mark.parametrize("row", [{}, {"stimulus_frame": -1}, {"stimulus_frame": 9}, {"source": "m_unlabeled.mp4"}])
def test_what_is_sound_is_not_named(row):
    assert [text for check in ("stimulus", "labels", "source") for text in MOUSE.checks[check](trial(**row))] == []
