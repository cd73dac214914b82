"""A track on its video: longer, shifted, impossible and empty tables are refused by name; single bad rows are counted."""

from pathlib import Path

import numpy as np
import pytest

from tarpon.shards.sources.mouse import pose_track
from tarpon.shards.sources.mouse.pose_track import check_head, read_track


@pytest.fixture
def values() -> np.ndarray:
    """(40, 2, 3): two points within 100 x 80 pixels."""
    return np.random.default_rng(0).random((40, 2, 3)) * [100, 80, 1]


def write(path: Path, values: np.ndarray, *, index: list | None = None, scorer: str = "net") -> Path:
    """(R, 2, 3) as the points a, b of a DeepLabCut CSV; NaN is blank."""
    lines = [f"scorer{f',{scorer}' * 6}", "bodyparts,a,a,a,b,b,b", "coords,x,y,likelihood,x,y,likelihood"]
    for row, frame in zip(values.reshape(len(values), 6), index or range(len(values)), strict=True):
        lines.append(",".join([str(frame), *("" if np.isnan(value) else repr(float(value)) for value in row)]))
    path.write_text("\n".join(lines) + "\n")
    return path


SIZE = (100, 80)


def test_a_track_says_where_it_is_from(tmp_path, values):
    path = write(tmp_path / "t.csv", values)
    track = read_track(path, ("b", "a"), frames=40, size=SIZE)
    np.testing.assert_allclose(track.xyl, values[:, ::-1], rtol=1e-6)
    assert (track.points, track.scorer, track.software, track.path) == (("b", "a"), "net", "DeepLabCut", path)
    assert track.frames.tolist() == list(range(40))
    assert track.remarks == ()


@pytest.mark.parametrize(
    ("index", "frames", "told"),
    [
        (None, 39, "40 rows, the video has 39 frames: every point may be shifted"),
        (list(range(1, 41)), 40, "count from 1 to 40, the video has 40 frames: write the frame numbers from 0"),
        (list(range(1, 41)), 60, "count from 1 to 40: whether row 1 is the first frame"),
        ([f"img{4 * n:05d}.png" for n in range(40)], 60, r"line 19 \(frame 60\) is past the 60 frames"),
        ([*range(39), 1000], 60, r"line 43 \(frame 1000\) is past the 60 frames"),
    ],
)
def test_rows_for_frames_that_the_video_has_not(tmp_path, values, index, frames, told):
    with pytest.raises(ValueError, match=told):
        read_track(write(tmp_path / "t.csv", values, index=index), ("a",), frames=frames)


@pytest.mark.parametrize("blank", [np.nan, 0.0])
def test_empty_rows_past_the_end_are_left_out(tmp_path, values, blank):
    """DeepLabCut writes as many rows as the header declares frames, and leaves those it could not read empty."""
    values[37:] = blank
    track = read_track(write(tmp_path / "t.csv", values), ("a",), frames=37)
    assert len(track.xyl) == 37
    assert track.remarks == ("3 rows without a point are past the 37 frames of the video: left out",)


def test_fewer_rows_stay_fewer_but_labelled_frames_are_spread_over_the_video(tmp_path, values):
    assert len(read_track(write(tmp_path / "t.csv", values), ("a",), frames=60).xyl) == 40
    images = write(tmp_path / "i.csv", values, index=[f"img{n:03d}.png" for n in range(40)])
    track = read_track(images, ("a",), frames=60)
    assert len(track.xyl) == 60
    assert not track.xyl[40:, 0, 2].any()


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        (2, 1.5, "a likelihood outside of 0 to 1, the first is 1.5 at line 10 "),
        (2, -0.5, "a likelihood outside of 0 to 1, the first is -0.5 at line 10 "),
        (0, 126.0, "a point far outside of the picture, the first is x, y = 126, "),
        (0, -26.0, "a point far outside of the picture"),
        (1, 101.0, "a point far outside of the picture"),
        (1, np.inf, "a point far outside of the picture"),
    ],
)
def test_impossible_values_are_counted_and_blanked_and_too_many_refused(tmp_path, values, at, value, told):
    bad = values.copy()
    bad[6:10, 0, at] = value
    track = read_track(write(tmp_path / "t.csv", bad), ("a", "b"), frames=40, size=SIZE)
    (remark,) = track.remarks
    assert remark.startswith("4 of 40 rows have ")
    assert told in remark
    assert np.isnan(track.xyl[6:10, 0, :2]).all()
    assert not track.xyl[6:10, 0, 2].any()
    np.testing.assert_allclose(track.xyl[:, 1], values[:, 1], rtol=1e-6)
    bad[10, 0, at] = value
    with pytest.raises(ValueError, match=r"5 of 40 rows have .* at most 10% may"):
        read_track(write(tmp_path / "t.csv", bad), ("a", "b"), frames=40, size=SIZE)


def test_a_little_outside_is_possible(tmp_path, values):
    values[3, 0, :2], values[4, 0, :2], values[5, 0, 2] = (-24, -19), (124, 99), 1.0005
    track = read_track(write(tmp_path / "t.csv", values), ("a",), frames=40, size=SIZE)
    assert track.remarks == ()
    np.testing.assert_array_equal(track.xyl[3:5, 0, :2], [(-24, -19), (124, 99)])
    assert track.xyl[5, 0, 2] == 1


def test_frames_without_a_point_are_counted_and_too_many_refused(tmp_path, values):
    values[5:25] = np.nan
    path = write(tmp_path / "t.csv", values)
    assert read_track(path, ("a",)).remarks == ("20 of 40 frames have no point, the first is frame 5",)
    with pytest.raises(ValueError, match=r"20 of 40 frames have no point at all; at most 40% may \(--max_blank\)"):
        read_track(path, ("a",), max_blank=0.4)
    values[:, 0] = np.nan
    with pytest.raises(ValueError, match="has no point in any frame"):
        read_track(write(path, values), ("a",), max_blank=1)
    assert read_track(path, ("a", "b")).remarks  # one of two points is enough of a frame


@pytest.mark.parametrize("scorer", ["tarpon", "DLC_tarpon"])
def test_our_own_predictions_are_no_track_unless_asked_for(tmp_path, values, scorer):
    path = write(tmp_path / "renamed.csv", values, scorer=scorer)
    with pytest.raises(ValueError, match="predicted by Tarpon; --scorer DLC_tarpon takes them"):
        read_track(path, ("a",))
    assert read_track(path, ("a",), scorer="DLC_tarpon").software == "Tarpon"


def test_a_gap_is_said(tmp_path, values):
    track = read_track(write(tmp_path / "t.csv", values[:3], index=[0, 1, 3]), ("a",), frames=4)
    assert track.remarks[0] == "1 frames have no row, the first is frame 2: their points are not labelled"


def test_the_length_is_told_before_the_places(tmp_path, values):
    """A table of a longer and larger video has both faults; the first is the one to look at."""
    with pytest.raises(ValueError, match="40 rows, the video has 20 frames"):
        read_track(write(tmp_path / "t.csv", values * [4, 4, 1]), ("a",), frames=20, size=SIZE)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_the_head_of_a_long_file_tells_what_it_lacks(tmp_path, values, encoding, monkeypatch):
    monkeypatch.setattr(pose_track, "HEAD_BYTES", 601)
    path = write(tmp_path / "t.csv", values)
    path.write_bytes(path.read_text().replace("net", "nét").encode(encoding))
    assert path.stat().st_size > 601
    check_head(path, ("b", "a"))
    with pytest.raises(ValueError, match="no body part 'c'; the file has a, b: name those to use with --keypoints"):
        check_head(path, ("a", "c"))
