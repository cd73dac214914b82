"""Points outside of the picture: a filter that goes on by itself is told from a table of another picture."""

import numpy as np
import pytest

from tarpon.shards.sources.mouse.pose_outside import carried_off, outside
from tarpon.shards.sources.mouse.pose_track import read_track

SIZE = (100, 80)


def write(path, xy, likelihood=0.9):
    rows = [f"{i},{x},{y},{likelihood}" for i, (x, y) in enumerate(xy)]
    path.write_text("\n".join(["scorer,n,n,n", "bodyparts,a,a,a", "coords,x,y,likelihood", *rows]) + "\n")
    return path


def walk(count, *, scale=1.0):
    """Round and round in the picture, 4 pixels a frame, as it looks in a picture `scale` times as large."""
    angle = np.arange(count) * 0.1
    return scale * np.stack([50 + 40 * np.cos(angle), 40 + 30 * np.sin(angle)], -1)


def drift(count, *, start=(50, 40), velocity=(3, 0.5)):
    return np.array(start) + np.arange(count)[:, None] * np.array(velocity)


def test_the_edge_and_the_margin():
    xy = np.array([[102, 82], [102.5, 40], [-2, -2], [50, 82.5], [125, 100], [np.nan, 5]])
    assert outside(xy, SIZE).tolist() == [False, True, False, True, True, False]
    assert outside(xy, SIZE, margin=0.25).tolist() == [False] * 6


@pytest.mark.parametrize(
    ("xy", "off"),
    [
        (drift(200), True),
        (np.concatenate([walk(20), drift(100), walk(30)]), True),  # found again: the filter jumps back
        (np.concatenate([drift(100), drift(100)[::-1]]), False),  # walks back in: a larger picture
        (walk(200, scale=2), False),
        (drift(200, start=(250, 40)), False),  # never inside
        (np.where(np.arange(200)[:, None] < 50, walk(200), 5000), False),  # jumps out
        (drift(200, velocity=(60, 0)), False),  # each step is a jump
    ],
)
def test_what_a_filter_carries_off(tmp_path, xy, off):
    out = outside(xy[:, None], SIZE)
    assert carried_off(xy[:, None], out, SIZE) == off
    path = write(tmp_path / "t.csv", xy)
    if off:
        track = read_track(path, ("a",), frames=len(xy), size=SIZE)
        np.testing.assert_array_equal(np.isnan(track.xyl[:, 0, 0]), out[:, 0])
        assert "went there step by step" in track.remarks[0]
    else:
        reach = (
            f"reach x, y = {xy[:, 0].max():.6g}, {xy[:, 1].max():.6g} in a picture of 100 x 80: tracked at another resolution"
        )
        with pytest.raises(ValueError, match=reach):
            read_track(path, ("a",), frames=len(xy), size=SIZE)


def test_a_track_of_a_somewhat_larger_picture_is_told(tmp_path):
    """At 1.2 times the size no point is impossible and every one is wrong."""
    track = read_track(write(tmp_path / "t.csv", walk(200, scale=1.2)), ("a",), frames=200, size=SIZE)
    (remark,) = track.remarks
    assert "% of the points lie outside of the picture (kept); its points reach x, y = 108" in remark
    assert "another resolution" in remark
    assert read_track(write(tmp_path / "u.csv", walk(200)), ("a",), frames=200, size=SIZE).remarks == ()
