"""Short gaps of a track filled along straight lines."""

import numpy as np
import pandas as pd
import pytest

from tarpon.pipelines.clip.gaps import fill_gaps

LEAST = 0.9


@pytest.fixture
def track() -> np.ndarray:
    """(40, 3, 3): a walk, of which half of the frames are lost in one point, a few in another, none in the third."""
    rng = np.random.default_rng(0)
    xyl = np.concatenate([rng.normal(size=(40, 3, 2)).cumsum(0), rng.uniform(LEAST, 1, (40, 3, 1))], -1).astype(np.float32)
    xyl[rng.random(40) < 0.5, 0, 2] = 0.1
    xyl[:3, 1, 2] = xyl[20:26, 1, 2] = xyl[38:, 1, 2] = 0.5
    xyl[22, 1, :2] = np.nan
    return xyl


@pytest.mark.parametrize("frames", [1, 2, 3, 6, 40])
def test_it_is_interpolation_of_the_short_gaps(track, frames):
    """By pandas, which fills from the inside, a run of NaN being kept or filled by its length."""
    filled = fill_gaps(track, frames=frames, likelihood=LEAST)
    for point in range(3):
        lost = pd.Series(track[:, point, 2] < LEAST)
        place = pd.DataFrame(track[:, point, :2].astype(float)).mask(lost)
        length = lost.groupby((~lost).cumsum()).transform("sum")
        inside = place.interpolate(limit_area="inside")
        made = lost & (length <= frames) & inside.notna().all(axis=1)
        np.testing.assert_allclose(filled[made, point, :2], inside[made], rtol=1e-5, atol=1e-5)
        assert (filled[made, point, 2] == np.float32(LEAST)).all()
        np.testing.assert_array_equal(filled[~made, point], track[~made, point])


def test_by_hand():
    xyl = np.array([[[0, 0, 1]], [[9, 9, 0]], [[2, 4, 1]], [[9, 9, 0]], [[9, 9, 0]], [[8, 1, 1]], [[9, 9, 0]]], np.float32)
    before = xyl.copy()
    filled = fill_gaps(xyl, frames=1, likelihood=0.5)
    assert filled[1, 0].tolist() == [1, 2, 0.5]
    np.testing.assert_array_equal(filled[3:], xyl[3:])  # too long, and without an end
    assert fill_gaps(xyl, frames=2, likelihood=0.5)[3:6, 0].tolist() == [[4, 3, 0.5], [6, 2, 0.5], [8, 1, 1]]
    np.testing.assert_array_equal(xyl, before)


def test_nothing_to_fill(track):
    assert fill_gaps(track, frames=0, likelihood=LEAST) is track
    never = np.zeros_like(track)
    for held in (never, never[:0]):
        np.testing.assert_array_equal(fill_gaps(held, frames=5, likelihood=LEAST), held)
