"""Errors of regressed keypoints on visible points.

K keypoints; `...` is any number of leading axes (points, groups, bootstrap resamples).
"""

import numpy as np

from tarpon.train.metrics.confusion import ratio
from tarpon.train.tasks.mouse.metrics.trial import Trial

PCK = {"pck_05": 0.05, "pck_10": 0.10}  # a point is right within this share of the frame's longer side
COLUMNS = 3 + len(PCK)  # of the counts below


def keypoint_counts(trial: Trial) -> np.ndarray | None:
    """Additive counts of one trial, or None when it has no true or no predicted keypoints.

    Returns:
        (K, 5) float64: visible points; sum of (|dx| + |dy|) / 2 in units of width and height; the same in px; points right
        at PCK 0.05; at 0.10. Sum over trials or points freely, then keypoint_scores.
    """
    if trial.keypoints is None or trial.keypoints_pred is None:
        return None
    visible = trial.keypoints[..., 2] > 0
    # an invisible point may hold any number, NaN included: cut it out before it meets arithmetic
    error = np.where(visible[..., None], trial.keypoints[..., :2].astype(np.float64) - trial.keypoints_pred, 0)
    error_px = error * np.array(trial.size, np.float64)
    distance = np.hypot(error_px[..., 0], error_px[..., 1])
    right = [(visible & (distance <= fraction * max(trial.size))).sum(0) for fraction in PCK.values()]
    return np.stack([visible.sum(0), np.abs(error).mean(-1).sum(0), np.abs(error_px).mean(-1).sum(0), *right], 1)


def keypoint_mae(counts: np.ndarray) -> np.ndarray:
    """(..., 5) counts -> (...) mean absolute error of a visible coordinate, in units of width and height."""
    return ratio(counts[..., 1], counts[..., 0])


def keypoint_scores(counts: np.ndarray, *, suffix: str = "") -> dict[str, float]:
    """(5,) counts -> keypoint_mae (units of width and height), keypoint_mae_px, and the share of points right (PCK).

    PCK's reference length is the longer side of the frame in px: it needs no body size, which a hidden point would break.
    NaN without a visible point.
    """
    names = ("keypoint_mae", "keypoint_mae_px", *PCK)
    return {name + suffix: float(value) for name, value in zip(names, ratio(counts[1:], counts[0]), strict=True)}
