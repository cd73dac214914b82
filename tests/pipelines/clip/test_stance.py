"""The usual distances between points: against NumPy's nanmedian, and at the ends of a recording."""

import numpy as np
import pytest

from tarpon.pipelines.clip.stance import STEP, usual_distances


def recording(frames: int, *, points: int = 4, hidden: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(0)
    xyl = rng.normal(0, 10, (frames, points, 3)).astype(np.float32)
    xyl[..., 2] = rng.random((frames, points)) > hidden
    xyl[rng.random((frames, points)) < 0.1, :2] = np.nan
    return xyl


def medians(xyl: np.ndarray) -> np.ndarray:
    """(T, K, 3) -> (K, K), the slow way."""
    xy = np.where(xyl[..., 2:] >= 0.9, xyl[..., :2], np.nan)
    return np.nan_to_num(np.nanmedian(np.linalg.norm(xy[:, :, None] - xy[:, None], axis=-1), axis=0))


@pytest.mark.parametrize("frames", [1, 2, 29, 31, 360])
def test_a_recording_within_the_stretch_has_one_stance(frames):
    xyl = recording(frames, hidden=0.3 if frames > 20 else 0)
    xyl = np.nan_to_num(xyl) if frames <= 20 else xyl
    made = usual_distances(xyl, frames=360, likelihood=0.9)
    assert made.shape == (frames, 4, 4)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, np.broadcast_to(medians(xyl), made.shape), rtol=1e-5)


def test_a_longer_one_follows_its_animal_in_whole_stretches():
    xyl = recording(500)
    made = usual_distances(xyl, frames=200, likelihood=0.9)
    np.testing.assert_allclose(made[0], medians(xyl[:200]), rtol=1e-5)
    np.testing.assert_allclose(made[-1], medians(xyl[-200:]), rtol=1e-5)
    at = 250
    start = at // STEP * STEP + STEP // 2 - 100
    np.testing.assert_allclose(made[at], medians(xyl[start : start + 200]), rtol=1e-5)


def test_points_never_seen_together_have_no_distance():
    xyl = recording(60, hidden=0)
    xyl[:30, 0, 2] = xyl[30:, 1, 2] = 0
    made = usual_distances(xyl, frames=60, likelihood=0.9)
    assert (made[:, 0, 1] == 0).all()
    assert (made[:, 1, 0] == 0).all()
    assert (made[:, 0, 2] > 0).all()
    assert not usual_distances(np.full((5, 2, 3), np.nan, np.float32), frames=9, likelihood=0.9).any()
