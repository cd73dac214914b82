"""Points that are not in the picture: how many, and whether a filter carried them off or the table is of another picture.

R rows, K points.
"""

import numpy as np

MARGIN = 0.25  # of the picture's side: a point farther out is impossible, one nearer may be a filter's overshoot
EDGE = 2  # pixels that a subpixel refinement may add
STEP = 0.1  # of the picture's side: what moves farther from one frame to the next has jumped
FEW = 0.05  # share of points outside above which they are told; a tracker finds points in the picture that it saw


def outside(xy: np.ndarray, size: tuple[int, int], *, margin: float | None = None) -> np.ndarray:
    """(...) bool of points (..., 2): more than `margin` of the side outside a picture of (width, height) pixels, or EDGE."""
    side = np.array(size, float)
    spare = EDGE if margin is None else margin * side
    with np.errstate(invalid="ignore"):
        return ((xy < -spare) | (xy > side + spare)).any(-1)


def carried_off(xy: np.ndarray, out: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether every point (R, K, 2) that is outside, `out` (R, K), went there step by step and did not come back so.

    A Kalman or ARIMA filter goes on along the last velocity where it sees the animal no more. Its points inside are the
    animal's. In a table of a larger picture points come and go over the edge, or are outside from the first row on.
    """
    if out[0].any():
        return False
    with np.errstate(invalid="ignore"):
        near = (np.abs(np.diff(xy, axis=0)) <= STEP * np.array(size)).all(-1)  # (R - 1, K); False beside a blank
    back = out[:-1] & ~out[1:]
    return bool(near[out[1:]].all() and not near[back].any())


def reach(xy: np.ndarray, size: tuple[int, int]) -> str:
    """How far points reach and in what picture, in words."""
    found = np.where(np.isfinite(xy), xy, np.nan).reshape(-1, 2)
    x, y = np.nanmax(found, axis=0)
    return f"its points reach x, y = {x:.6g}, {y:.6g} in a picture of {size[0]} x {size[1]}"
