"""Scores by windows of the clock, and from which hour on they are good.

A window speaks of its middle hour, in figures, tables and words alike. Windows overlap: a page stands in several of them, so
their pages do not add up; `count_pages` counts each page once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tarpon.train.tasks.cells.metrics.classes import score_classes
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, PageRows

WINDOW_H, STRIDE_H = 6.0, 3.0  # as published
GOOD_AUC = 0.95


@dataclass(frozen=True, kw_only=True)
class Window:
    """Scores of the pages filmed at start <= clock < end."""

    start: float  # hours of the clock
    end: float
    scores: dict[str, float]  # rows, infected (rows), those of `score_classes`, mae; NaN where undefined

    @property
    def centre(self) -> float:
        """Hours of the clock."""
        return (self.start + self.end) / 2


def score_windows(rows: PageRows, *, width: float = WINDOW_H, stride: float = STRIDE_H) -> list[Window]:
    """Windows from hour 0 on until every page is in one; a window without pages is left out."""
    found = []
    for start in list_starts(rows.clock, width=width, stride=stride):
        at = (rows.clock >= start) & (rows.clock < start + width)
        if at.any():
            scores = {"rows": float(at.sum()), "infected": float((rows.label[at] == 1).sum())}
            scores |= score_classes(rows.label[at], rows.prob[at])
            scores["mae"] = float(np.abs(rows.error()[at]).mean())
            found.append(Window(start=start, end=start + width, scores=scores))
    return found


def list_starts(clock: np.ndarray, *, width: float, stride: float) -> list[float]:
    """Where windows begin, from hour 0 on until every page is in one. clock: (N,) hours. ValueError for windows with gaps."""
    if not 0 < stride <= width:
        raise ValueError(f"stride={stride:g} h must be above 0 and at most the width of the windows, {width:g} h")
    last, starts = float(clock.max()), [0.0]
    while starts[-1] + width <= last:
        starts.append(starts[-1] + stride)
    return starts


def find_good_hour(found: Sequence[Window], *, level: float = GOOD_AUC) -> float:
    """Middle of the first window from which on all reach `level`; windows of one class say nothing; NaN if the last fails."""
    hour = math.nan
    for window in reversed(found):
        if math.isnan(window.scores["auc"]):
            continue
        if window.scores["auc"] < level:
            break
        hour = window.centre
    return hour


def count_pages(rows: PageRows, *, width: float = STRIDE_H) -> tuple[np.ndarray, np.ndarray]:
    """Pages of each class in stretches of the clock that do not overlap, so that every page is counted once.

    Returns:
        edges (K + 1,) hours from 0 on, the last one not included; counts (2, K) int64, uninfected first.
    """
    stretch = np.floor(rows.clock.astype(np.float64) / width).astype(np.int64)
    count = int(stretch.max()) + 1
    counts = [np.bincount(stretch[rows.label == label], minlength=count) for label in range(len(CONDITIONS))]
    return np.arange(count + 1) * width, np.stack(counts)
