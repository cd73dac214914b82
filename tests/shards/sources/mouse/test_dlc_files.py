"""Pose files as DeepLabCut wrote them, and its other container."""

import numpy as np
import pytest

from tarpon.shards.sources.mouse.pose_points import MOUSE_POINTS
from tarpon.shards.sources.mouse.pose_track import read_track


def test_the_real_track_jumps_where_trials_begin(shared_data):
    path = next((shared_data / "mouse_pain_real").glob("*DLC_*.csv"))
    xyl = read_track(path, MOUSE_POINTS).xyl
    assert xyl.shape == (1080, 6, 3)
    step = np.linalg.norm(np.diff(xyl[:, MOUSE_POINTS.index("tail_base"), :2], axis=0), axis=-1)
    assert np.flatnonzero(step > 50).tolist() == [359]  # the only such step of the tail: row 360
    mouth = np.linalg.norm(np.diff(xyl[:, 0, :2], axis=0), axis=-1)
    assert mouth[[359, 719]] == pytest.approx([191, 208], abs=1)
    raw = np.loadtxt(path, delimiter=",", skiprows=3)
    np.testing.assert_allclose(xyl[:, 1], raw[:, 16:19], rtol=1e-6)  # tail_base is the file's last point


def test_real_hand_labels_with_blanks_and_image_names(shared_data):
    path = shared_data / "mirror_mouse" / "CollectedData.csv"
    track = read_track(path, ("nose_bot", "paw1LH_top"))
    rows = len(path.read_text().splitlines()) - 3
    assert track.frames.tolist() == list(range(1, rows + 1))  # img01.png and on
    xyl = track.xyl
    assert xyl.shape == (rows + 1, 2, 3)
    assert xyl[0, :, 2].tolist() == [0, 0]
    assert xyl[-1, 1, 2] == xyl[-2, 1, 2] == 0  # blank in the file's last two rows
    seen = xyl[..., 2] == 1
    assert (np.isfinite(xyl[..., 0]) == seen).all()
    assert seen.any(0).all()


def test_h5_is_the_csv(shared_data):
    pytest.importorskip("tables", reason="the h5 extra is not installed")
    folder = shared_data / "mouse_pain_real"
    one, two = (read_track(next(folder.glob(f"*DLC_*.{kind}")), MOUSE_POINTS).xyl for kind in ("h5", "csv"))
    np.testing.assert_array_equal(one, two)


def test_h5_that_is_none(tmp_path):
    pytest.importorskip("tables", reason="the h5 extra is not installed")
    (tmp_path / "a.h5").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"not an HDF5 file|no single pandas table"):
        read_track(tmp_path / "a.h5", ("b",))
