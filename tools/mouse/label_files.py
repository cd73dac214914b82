"""The CSV files that labelling a recording leaves: a row a frame, a row a bout, and a track of points.

T frames, C classes, K points.
"""

import csv
from pathlib import Path

import numpy as np

from tarpon.shards import atomic
from tarpon.train.tasks.mouse.metrics.segments import runs

BOUT_COLUMNS = ("Bout", "Action", "Onset", "Offset", "Frames", "Onset_s", "Offset_s", "Duration_s", "Mean_prob")


def write_actions(path: Path, actions: np.ndarray, probs: np.ndarray, classes: list[str]) -> None:
    """A row a frame: actions (T,) by name, and the model's own probabilities (T, C), which no filter has touched."""
    with atomic.replacing(path) as draft, open(draft, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Frame", "Action", *(f"{name}_prob" for name in classes)])
        for number, (action, row) in enumerate(zip(actions, probs, strict=True)):
            writer.writerow([number, classes[action], *(f"{p:.5f}" for p in row)])


def write_bouts(path: Path, actions: np.ndarray, probs: np.ndarray, classes: list[str], *, edges: np.ndarray) -> int:
    """A row a bout (a maximal run of one action, rest included), in order; returns how many.

    Bout counts from 1. Onset and Offset are its first and last frame, both part of it, counted from 0 as in the table of
    frames, so Frames = Offset - Onset + 1. In seconds from the start of frame 0, by `edges` (T + 1,), where each frame
    begins and the last one ends: Onset_s is the start of the first frame and Offset_s the end of the last one, so that
    Duration_s = Offset_s - Onset_s and a bout begins at the second where the one before it ends. Mean_prob is the mean over
    its frames of the probability of its own action.
    """
    with atomic.replacing(path) as draft, open(draft, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(BOUT_COLUMNS)
        bouts = list(zip(*(part.tolist() for part in runs(actions)), strict=True))
        for number, (start, stop, action) in enumerate(bouts, start=1):
            seconds = (f"{time:.4f}" for time in (edges[start], edges[stop], edges[stop] - edges[start]))
            sure = float(probs[start:stop, action].mean())
            writer.writerow([number, classes[action], start, stop - 1, stop - start, *seconds, f"{sure:.5f}"])
    return len(bouts)


def write_track(path: Path, xy: np.ndarray, points: list[str]) -> None:
    """Predicted points (T, K, 2) in source pixels as a DeepLabCut CSV; without likelihood, for the model gives none."""
    head = (
        ("scorer", *(["tarpon"] * 2 * len(points))),
        ("bodyparts", *(name for name in points for _ in "xy")),
        ("coords", *("x", "y") * len(points)),
    )
    with atomic.replacing(path) as draft, open(draft, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(head)
        for number, row in enumerate(xy.reshape(len(xy), -1)):
            writer.writerow([number, *(f"{value:.3f}" for value in row)])
