"""Whole recordings of every kind through packing, against what OpenCV, and so DeepLabCut, reads from the same file."""

import errno
from pathlib import Path

import numpy as np
import pytest

from tarpon.shards.quarantine import Fault, contain
from tarpon.shards.schema import Sample
from tarpon.shards.sources.mouse import source as mouse
from tarpon.shards.sources.mouse.units import MouseSource, VideoUnit
from tarpon.shards.sources.video import clips as video

OPEN = {"x264-params": "open-gop=1:bframes=3:keyint=10:min-keyint=10:scenecut=0"}
LOSSY = {"qscale": "2"}
KINDS = {
    "a.MP4": {},
    "a.avi": {"encoder": "mpeg4", "options": LOSSY | {"bf": "2"}},
    "mjpeg.AVI": {"encoder": "mjpeg", "pix_fmt": "yuvj422p", "options": {"qmin": "2", "qmax": "2"}},
    "grey.avi": {"encoder": "ffv1", "pix_fmt": "gray"},
    "raw.avi": {"encoder": "rawvideo", "pix_fmt": "bgr24"},
    "rgb.mkv": {"encoder": "libx264rgb", "pix_fmt": "rgb24"},
    "vp8.webm": {"encoder": "libvpx", "options": {"b": "2M", "auto-alt-ref": "1", "lag-in-frames": "16"}},
    "vp9.webm": {"encoder": "libvpx-vp9", "options": {"crf": "10", "b": "0"}},
    "a.wmv": {"encoder": "wmv2", "options": LOSSY},
    "a.mpg": {"encoder": "mpeg2video", "options": LOSSY | {"bf": "2"}},
    "a.ts": {},
    "open.ts": {"options": OPEN},
    "open.mp4": {"options": OPEN},
    "hevc.mp4": {
        "encoder": "libx265",
        "options": {"x265-params": "open-gop=1:bframes=4:keyint=10:min-keyint=10:scenecut=0:log-level=error"},
    },
    "prores.mov": {"encoder": "prores_ks", "pix_fmt": "yuv422p10le"},
    "a.m4v": {},
    "full.mov": {"pix_fmt": "yuvj420p"},
    "colour444.mp4": {"pix_fmt": "yuv444p"},
    "bt709.mp4": {"matrix": 1, "full": False},
    "bt709_full.mp4": {"matrix": 1, "full": True},
    "bt2020.mkv": {"matrix": 9, "full": False},
    "smpte170m.mp4": {"matrix": 6, "full": False},
    "vfr.mp4": {"pts": np.cumsum(np.random.default_rng(0).integers(5, 120, 40))},
    "vfr.mkv": {"pts": np.cumsum(np.random.default_rng(1).integers(5, 120, 40)) + 400},
    "quarter.mov": {"turn": -90},
    "half.mp4": {"turn": 180},
    "three_quarters.mkv": {"turn": 90, "matrix": 1, "full": True},
}


def made(path: Path, **source) -> list[Sample | Fault]:
    options = {"pose": "none", "trial_frames": 20} | source
    unit = VideoUnit(path=str(path), points=None, trials=(), source=MouseSource(**options), group=path.stem)
    return list(contain(unit.name(), mouse.make(unit)))


def seen_by_opencv(path: Path) -> list[np.ndarray]:
    cv2 = pytest.importorskip("cv2")
    reader, frames = cv2.VideoCapture(str(path)), []
    while (read := reader.read())[0]:
        frames.append(read[1][..., ::-1].astype(float))
    return frames


@pytest.mark.parametrize("codec", ["vp9", "mjpeg"])
@pytest.mark.parametrize("name", KINDS)
def test_a_trial_holds_what_opencv_reads(tmp_path, write_source, name, codec):
    write_source(tmp_path / name, **KINDS[name])
    frames = seen_by_opencv(tmp_path / name)
    assert len(frames) == 40
    samples = made(tmp_path / name, clip=video.ClipFormat(codec=codec))
    assert [sample.row["trial"] for sample in samples] == [1, 2], samples
    for sample in samples:
        first = sample.row["first_frame"]
        assert (sample.row["height"], sample.row["width"]) == frames[0].shape[:2]
        clip = video.frames_at(sample.files["clip.mp4"], range(20)).astype(float)
        wanted = np.stack(frames[first : first + 20])
        assert clip.shape == wanted.shape  # both sides are multiples of 16, so nothing is resized
        assert np.abs(clip - wanted).mean() < 4
        # of a whole patch the colour is right, whatever the codec does to its edges
        for corner in (np.s_[:, 8:24, 8:24], np.s_[:, -24:-8, 8:24], np.s_[:, 8:24, -24:-8]):
            assert np.abs(clip[corner].mean((1, 2)) - wanted[corner].mean((1, 2))).max() < 6


def test_dark_pixels_of_a_full_range_video_are_not_crushed(tmp_path, write_source):
    """Grey levels 2 to 14 are black to a reader that takes them for limited range."""
    frames = np.full((20, 96, 128, 3), 128, np.uint8)
    frames[:, 32:64, 32:96] = np.repeat(np.arange(4, 36, 8, dtype=np.uint8), 16)[None, None, :, None]
    write_source(tmp_path / "a.mp4", pix_fmt="yuvj420p", options={"crf": "4"}, frames=frames)
    (sample,) = made(tmp_path / "a.mp4")
    clip = video.frames_at(sample.files["clip.mp4"], [10])[0].astype(float)
    for place, level in enumerate(range(4, 36, 8)):
        assert clip[40:56, 36 + 16 * place : 44 + 16 * place].mean() == pytest.approx(level, abs=2.5)


def test_a_matrix_that_cannot_be_read_is_named(tmp_path, write_source):
    write_source(tmp_path / "a.mp4", options={"x264-params": "colormatrix=bt2020c"})
    (fault,) = made(tmp_path / "a.mp4")
    assert fault.file == "a.mp4"
    assert "colour matrix 10" in fault.reason


@pytest.mark.parametrize("error", [KeyError("planes"), AttributeError("no 'x'"), ZeroDivisionError(), MemoryError()])
def test_what_nobody_foresaw_costs_one_video(tmp_path, write_source, monkeypatch, error):
    write_source(tmp_path / "a.mp4")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(video.ClipEncoder, "add", fail)
    (fault,) = made(tmp_path / "a.mp4")
    assert fault.file == "a.mp4"
    assert type(error).__name__ in fault.reason


def test_a_full_disk_is_not_the_videos_fault(tmp_path, write_source, monkeypatch):
    write_source(tmp_path / "a.mp4")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(video.ClipEncoder, "add", fail)
    with pytest.raises(OSError, match="No space left"):
        made(tmp_path / "a.mp4")


def test_a_trial_whose_points_were_carried_off_is_packed_without_points(tmp_path, write_source):
    write_source(tmp_path / "a.mp4")
    rows = [f"{i},{20 + 6 * i},40,0.9,{22 + 6 * i},44,0.9" for i in range(40)]  # beyond 130 from 19 on
    heads = ("scorer" + ",n" * 6, "bodyparts,mouth,mouth,mouth,tail,tail,tail", "coords" + ",x,y,likelihood" * 2)
    (tmp_path / "aDLC_n.csv").write_text("\n".join([*heads, *rows]) + "\n")
    source = MouseSource(trial_frames=10, keypoints=("mouth", "tail"))
    unit = VideoUnit(path=str(tmp_path / "a.mp4"), points=str(tmp_path / "aDLC_n.csv"), trials=(), source=source, group="a")
    items = list(contain(unit.name(), mouse.make(unit)))
    samples = [item for item in items if isinstance(item, Sample)]
    assert ["keypoints.npy" in sample.files for sample in samples] == [True, True, False, False]
    remarks = [item for item in items if isinstance(item, Fault)]
    assert all(remark.packed for remark in remarks)
    assert "21 of 40 rows have a point outside" in remarks[0].reason
    assert remarks[-2].reason.startswith("trial 3 ")
    assert remarks[-1].reason == "trial 4 has no point in any frame: packed without points"
