"""SLEAP's analysis files in the layouts that it has written: HDF5 in its first order and with named axes, and CSV."""

import json
from pathlib import Path

import numpy as np
import pytest

from tarpon.shards.sources.mouse import pose_sleap
from tarpon.shards.sources.mouse.pose_track import read_track

NODES = ("nose", "tail")


@pytest.fixture
def tracks() -> tuple[np.ndarray, np.ndarray]:
    """xy (frame 6, node 2, xy 2, track 2) and scores (frame 6, node 2, track 2); frame 2 has no animal."""
    rng = np.random.default_rng(0)
    xy, scores = rng.random((6, 2, 2, 2)) * 50, rng.random((6, 2, 2))
    xy[2], scores[2] = np.nan, np.nan
    return xy, scores


def write_h5(path: Path, xy: np.ndarray, scores: np.ndarray, *, names: list[str], dims: bool = False) -> Path:
    """With dims: axes as (frame, track, node, xy), named; else as SLEAP first wrote them, (track, xy, node, frame)."""
    h5py = pytest.importorskip("h5py", reason="the sleap extra is not installed")
    with h5py.File(path, "w") as file:
        file["node_names"] = np.array([name.encode() for name in NODES])
        file["track_names"] = np.array([name.encode() for name in names], dtype="S10")
        if dims:
            file["tracks"], file["point_scores"] = xy.transpose(0, 3, 1, 2), scores.transpose(0, 2, 1)
            file["tracks"].attrs["dims"] = json.dumps(["frame", "track", "node", "xy"])
            file["point_scores"].attrs["dims"] = json.dumps(["frame", "track", "node"])
        else:
            file["tracks"], file["point_scores"] = xy.T, scores.T
            file["track_occupancy"] = np.isfinite(xy[:, 0, 0]).astype(np.uint8)
    return path


@pytest.mark.parametrize("dims", [False, True])
def test_the_axes_of_the_arrays(tmp_path, tracks, dims):
    xy, scores = tracks
    path = write_h5(tmp_path / "m.analysis.h5", xy, scores, names=["one", "two"], dims=dims)
    with pytest.raises(ValueError, match="holds the animals one, two; pick one with --individual"):
        read_track(path, ("tail",))
    track = read_track(path, ("tail", "nose"), individual="two", frames=9)
    assert track.software == "SLEAP"
    assert track.xyl.shape == (9, 2, 3)  # the file ends with the last frame that has an animal
    seen = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(track.xyl[seen, ..., :2], xy[seen][:, ::-1, :, 1], rtol=1e-6)
    np.testing.assert_allclose(track.xyl[seen, :, 2], scores[seen][:, ::-1, 1], rtol=1e-6)
    assert not track.xyl[[2, 6, 7, 8], :, 2].any()
    with pytest.raises(ValueError, match="6 rows, the video has 5 frames"):
        read_track(path, ("tail",), individual="two", frames=5)


def test_one_animal_needs_no_track(tmp_path, tracks):
    xy, scores = tracks
    path = write_h5(tmp_path / "m.analysis.h5", xy[..., :1], scores[..., :1], names=[])
    np.testing.assert_allclose(read_track(path, ("nose",)).xyl[0, 0, :2], xy[0, 0, :, 0], rtol=1e-6)


def test_a_csv_has_a_row_an_animal(tmp_path):
    lines = [
        "track,frame_idx,instance.score,nose.x,nose.y,nose.score,tail.x,tail.y,tail.score",
        "one,0,0.9,1,2,0.5,3,4,1.07",  # a peak of a confidence map may be above 1
        "two,0,0.9,5,6,0.5,7,8,0.6",
        "one,1,,9,10,,11,12,",  # labelled by hand: no scores
        "one,3,0.9,13,14,0.5,,,",
    ]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    track = read_track(tmp_path / "m.csv", ("nose", "tail"), individual="one", frames=5)
    nan = np.nan
    want = [
        [[1, 2, 0.5], [3, 4, 1]],
        [[9, 10, 1], [11, 12, 1]],
        [[nan, nan, 0]] * 2,
        [[13, 14, 0.5], [nan, nan, 0]],
        [[nan, nan, 0]] * 2,
    ]
    np.testing.assert_array_equal(track.xyl, np.float32(want))
    with pytest.raises(ValueError, match="holds the animals one, two"):
        read_track(tmp_path / "m.csv", ("nose",))


def test_a_csv_of_a_spreadsheet(tmp_path):
    """Semicolons and decimal commas; the points in the header are no decimal signs."""
    (tmp_path / "m.csv").write_text("track;frame_idx;instance.score;a.x;a.y;a.score\n;0;0,9;1,5;2,5;0,5\n")
    np.testing.assert_array_equal(read_track(tmp_path / "m.csv", ("a",)).xyl[0, 0], [1.5, 2.5, 0.5])


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (",0,1,1,2,1\n,0,1,1,2,1\n", "line 3: frame 0 stands a second time"),  # two animals without tracks
        (",-1,1,1,2,1\n", "line 2: frame -1 is negative"),
        (",x,1,1,2,1\n", "line 2: frame_idx 'x' is not a whole number"),
        (",0,1,1,oops,1\n", "line 2: 'oops' is not a number"),
        ("", "holds no coordinates"),
    ],
)
def test_what_cannot_be_is_told(tmp_path, rows, told):
    (tmp_path / "m.csv").write_text("track,frame_idx,instance.score,a.x,a.y,a.score\n" + rows)
    with pytest.raises(ValueError, match=told):
        read_track(tmp_path / "m.csv", ("a",))


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "m.analysis.h5").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ValueError, match=r"needs h5py: pip install 'tarpon\[sleap\]'"):
        read_track(tmp_path / "m.analysis.h5", ("a",))
    with pytest.raises(ValueError, match="needs h5py"):
        pose_sleap.read_h5(tmp_path / "m.analysis.h5")
