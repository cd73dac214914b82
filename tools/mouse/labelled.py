"""One video with what a model said of it, as the writers of other programs' files take it.

T frames, C classes, K points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """One labelled video."""

    path: Path
    fps: Fraction  # constant rate that seconds are told by
    size: tuple[int, int]  # (width, height) of the pictures as displayed, pixels
    classes: Sequence[str]
    actions: np.ndarray  # (T,) int64
    probs: np.ndarray  # (T, C) float32
    points: Sequence[str]
    predicted: np.ndarray | None  # (T, K, 2) in pixels, what the model regressed; None: it does not
    given: np.ndarray | None  # (T, K, 3) x, y, likelihood of the pose file; None: without
