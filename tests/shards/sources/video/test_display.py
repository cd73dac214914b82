"""Colours by hand from the standards' coefficients, turns by OpenCV, which DeepLabCut reads videos with."""

import struct

import av
import numpy as np
import pytest

from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.display import Display, check_matrix, quarter_turns, upright_size

COEFFICIENTS = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # red, blue


def rgb_of(yuv: tuple[int, int, int], *, matrix: int, full: bool) -> np.ndarray:
    """What a coded colour displays as, by the definition of luma and of the colour differences."""
    red, blue = COEFFICIENTS[matrix]
    y, u, v = (float(part) for part in yuv)
    y = y if full else (y - 16) * 255 / 219
    u, v = ((part - 128) * (1 if full else 255 / 224) for part in (u, v))
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    return np.array([r, (y - red * r - blue * b) / (1 - red - blue), b]).clip(0, 255)


def flat(yuv: tuple[int, int, int], *, matrix: int, full: bool, pix_fmt: str = "yuv420p") -> av.VideoFrame:
    frame = av.VideoFrame(64, 48, pix_fmt)
    for plane, value in zip(frame.planes, yuv, strict=True):
        plane.update(np.full(plane.buffer_size, value, np.uint8))
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", COEFFICIENTS)
@pytest.mark.parametrize("yuv", [(60, 128, 128), (120, 90, 160), (190, 140, 110), (40, 124, 133)])
def test_coded_colours_are_shown_and_stored_by_their_tags(yuv, matrix, full):
    frame, display = flat(yuv, matrix=matrix, full=full), Display()
    wanted = rgb_of(yuv, matrix=matrix, full=full)
    assert np.abs(display.rgb(frame)[20, 20] - wanted).max() <= 3
    for pix_fmt, stored_full in (("yuv420p", False), ("yuvj420p", True)):
        stored = display.bt601(frame, width=32, height=32, pix_fmt=pix_fmt)
        assert (stored.format.name, stored.color_range) == (pix_fmt, 2 if stored_full else 1)
        coded = tuple(bytes(plane)[0] for plane in stored.planes)
        assert np.abs(rgb_of(coded, matrix=5, full=stored_full) - wanted).max() <= 3


def test_full_range_is_full_range_by_its_pixel_format_too():
    frame = flat((8, 128, 128), matrix=2, full=True, pix_fmt="yuvj420p")
    frame.color_range = 0
    stored = Display().bt601(frame, width=32, height=32, pix_fmt="yuv420p")
    assert abs(bytes(stored.planes[0])[0] - (16 + 8 * 219 / 255)) <= 1


def test_a_matrix_that_cannot_be_converted_is_named():
    frame = flat((60, 128, 128), matrix=2, full=False)
    frame.colorspace = 10
    with pytest.raises(ValueError, match="colour matrix 10"):
        check_matrix(frame)


MATRICES = {  # of the display, its first two rows
    "upright": (1, 0, 0, 1),
    "90": (0, 1, -1, 0),
    "180": (-1, 0, 0, -1),
    "270": (0, -1, 1, 0),
    "left_right": (-1, 0, 0, 1),
    "upside_down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "turned_and_mirrored": (0, -1, -1, 0),
}


def set_matrix(path, matrix):
    """Write a display matrix into the header of an MP4's only track."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # behind version, times, number, length, layer, volume
    assert struct.unpack(">9i", content[start : start + 36])[0] == 1 << 16
    a, b, c, d = (number << 16 for number in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


@pytest.mark.parametrize("name", MATRICES)
def test_frames_are_turned_as_opencv_turns_them(tmp_path, write_source, name):
    cv2 = pytest.importorskip("cv2")
    write_source(tmp_path / "a.mp4", count=3, options={"crf": "4"})
    set_matrix(tmp_path / "a.mp4", MATRICES[name])
    ok, seen = cv2.VideoCapture(str(tmp_path / "a.mp4")).read()
    assert ok
    info = video.probe(tmp_path / "a.mp4")
    assert (info.height, info.width) == seen.shape[:2]
    np.testing.assert_allclose(video.frames_at(tmp_path / "a.mp4", [0])[0].astype(int), seen[..., ::-1], atol=2)
    frame = next(video.decode(tmp_path / "a.mp4"))
    assert upright_size(frame) == (info.width, info.height)
    clip = video.ClipEncoder(video.ClipFormat(), width=info.width, height=info.height, fps=info.fps)
    clip.add(frame)
    stored = video.frames_at(clip.finish(), [0])[0].astype(int)
    assert np.abs(stored - seen[..., ::-1]).mean() < 3


@pytest.mark.parametrize(("degrees", "turns"), [(-90, 1), (90, 3), (180, 2), (45, 0), (-30, 0)])
def test_only_quarter_turns_turn(tmp_path, write_source, degrees, turns):
    write_source(tmp_path / "a.mkv", count=2, turn=degrees)
    assert quarter_turns(next(video.decode(tmp_path / "a.mkv"))) == turns
