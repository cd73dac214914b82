"""The DeepLabCut file of a synthetic video: true keypoints with tracking noise and drop-outs, in DLC's own CSV layout.

T frames, K keypoints.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

SCORER = "DLC_resnet50_pawtracking_comparisionMay7shuffle1_500000"
REFERENCE_SIDE = 512  # pixels; noise and jumps are those of 512 x 512 videos, scaled to the frame side
NOISE = 0.9  # pixels at REFERENCE_SIDE
JUMP = (100, 200)  # pixels at REFERENCE_SIDE a lost point is off by
# Mean length (frames) and share of the frames a point is lost in, in the order mouth, front L R, hind L R, tail base.
LOST = ((5, 0.08), (16, 0.24), (12, 0.16), (5, 0.03), (5, 0.03), (4, 0.0))


def track(points: np.ndarray, *, size: int, rng: np.random.Generator) -> np.ndarray:
    """What a tracker reports for true points.

    Drop-outs are drawn without looking at the action, so a lost point says nothing about it. The coordinates of a
    lost point are 100 to 200 pixels off, as real ones are.

    Args:
        points: (T, K, 2) pixels.

    Returns:
        (T, K, 3) float64 x, y in pixels and likelihood 0..1.
    """
    scale = size / REFERENCE_SIDE
    count, num = points.shape[:2]
    found = points + rng.normal(0, NOISE * scale, points.shape)
    likelihood = 1 - rng.gamma(1.2, 0.002, (count, num)).clip(0, 0.09)
    for point, (length, share) in enumerate(LOST[:num]):
        for first in np.flatnonzero(rng.random(count) < share / length):
            last = min(count, first + 1 + int(rng.exponential(length)))
            angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(*JUMP) * scale
            off = reach * np.array([np.cos(angle), np.sin(angle)])
            found[first:last, point] = points[first:last, point] + off + rng.normal(0, 3 * scale, (last - first, 2))
            likelihood[first:last, point] = rng.beta(0.6, 2.5, last - first) * 0.85
    return np.concatenate([found, likelihood[..., None]], -1)


def write_dlc(path: Path, tracked: np.ndarray, *, points: Sequence[str]) -> None:
    """Write (T, K, 3) x, y, likelihood under DLC's three header rows."""
    columns = 3 * len(points)
    lines = [
        ",".join(["scorer"] + [SCORER] * columns),
        ",".join(["bodyparts", *(name for name in points for _ in range(3))]),
        ",".join(["coords"] + ["x", "y", "likelihood"] * len(points)),
    ]
    for frame, row in enumerate(tracked.reshape(len(tracked), columns).tolist()):
        lines.append(f"{frame}," + ",".join(f"{value:.6f}" for value in row))
    path.write_text("\n".join(lines) + "\n")
