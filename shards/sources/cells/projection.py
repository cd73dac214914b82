"""Planes of several depths as one page. H, W pixels of a plane, which may have a last axis of three colours."""

from collections.abc import Iterable

import numpy as np

MAX, MEAN, FOCUS = PROJECTIONS = ("max", "mean", "focus")


def project(planes: Iterable[np.ndarray], how: str) -> np.ndarray:
    """One page of the planes of one moment, in their dtype.

    Args:
        planes: one or more of one shape.
        how: max: the brightest of every pixel; mean: the mean, whole numbers rounded; focus: the sharpest plane as it is.
    """
    if how == FOCUS:
        return max(planes, key=measure_sharpness)
    total, count, first = None, 0, None
    for plane in planes:
        first = plane if first is None else first
        if how == MAX:
            total = plane if total is None else np.maximum(total, plane)
        else:
            total = plane.astype(np.float64) if total is None else total + plane
        count += 1
    if how == MAX:
        return total
    mean = total / count
    return (np.rint(mean) if first.dtype.kind in "iu" else mean).astype(first.dtype)


def measure_sharpness(plane: np.ndarray) -> float:
    """Variance of the Laplacian over the variance of the plane: high in focus, and the same at another brightness."""
    grey = plane.astype(np.float64)
    grey = grey.mean(-1) if grey.ndim == 3 else grey
    laplacian = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * grey[1:-1, 1:-1]
    return float(laplacian.var() / max(grey.var(), 1e-12)) if laplacian.size else 0.0
