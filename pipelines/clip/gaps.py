"""Points that the tracker lost for a while, put on the straight line between the frames before and after.

T frames, K points.
"""

import numpy as np


def fill_gaps(xyl: np.ndarray, *, frames: int, likelihood: float) -> np.ndarray:
    """A track with its short gaps filled by linear interpolation over time.

    A gap is filled whole or not at all; one at the beginning or the end has no other side and stays.

    Args:
        xyl: (T, K, 3) x, y, likelihood; NaN where not labelled. It is not changed.
        frames: length of the longest gap that is filled; 0: the track as it is.
        likelihood: points below it are lost; filled ones get it.

    Returns:
        (T, K, 3), itself where nothing is filled.
    """
    if not frames:
        return xyl
    seen = (xyl[..., 2] >= likelihood) & np.isfinite(xyl[..., :2]).all(-1)
    filled = xyl.copy()
    for point in np.flatnonzero(~seen.all(0)):
        known = np.flatnonzero(seen[:, point])
        short = np.flatnonzero((np.diff(known) > 1) & (np.diff(known) <= frames + 1))
        lost = [np.arange(known[i] + 1, known[i + 1]) for i in short.tolist()]
        if lost:
            at = np.concatenate(lost)
            for axis in range(2):
                filled[at, point, axis] = np.interp(at, known, xyl[known, point, axis])
            filled[at, point, 2] = likelihood
    return filled
