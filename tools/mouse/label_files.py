"""The CSV files that labelling a recording leaves: a row a frame, a row a bout, and a track of points.

T frames, C classes, K points.
"""

from pathlib import Path

import numpy as np

from tarpon.shards import atomic, spreadsheet
from tarpon.shards.sources.mouse.dlc import OWN
from tarpon.train.tasks.mouse.metrics.segments import find_runs

BOUT_COLUMNS = ("Bout", "Action", "Onset", "Offset", "Frames", "Onset_s", "Offset_s", "Duration_s", "Mean_prob")


def write_actions(path: Path, actions: np.ndarray, probs: np.ndarray, classes: list[str], *, note: str | None = None) -> None:
    """A row a frame: actions (T,) by name, and the model's own probabilities (T, C), which no filter has touched.

    A note stands in a last column, in every row.
    """
    more = ((), ()) if note is None else (("Note",), (note,))
    with atomic.replace(path) as draft, open(draft, "w", newline="") as file:
        writer = spreadsheet.Writer(file)
        writer.writerow(["Frame", "Action", *(f"{name}_prob" for name in classes), *more[0]])
        for number, (action, row) in enumerate(zip(actions, probs, strict=True)):
            writer.writerow([number, classes[action], *(f"{p:.5f}" for p in row), *more[1]])


def write_bouts(
    path: Path, actions: np.ndarray, probs: np.ndarray, classes: list[str], *, edges: np.ndarray, note: str | None = None
) -> int:
    """A row a bout (a maximal run of one action, rest included), in order; returns how many.

    Bout counts from 1. Onset and Offset are its first and last frame, both part of it, counted from 0 as in the table of
    frames, so Frames = Offset - Onset + 1. In seconds from the start of frame 0, by `edges` (T + 1,), where each frame
    begins and the last one ends: Onset_s is the start of the first frame and Offset_s the end of the last one, so that
    Duration_s = Offset_s - Onset_s and a bout begins at the second where the one before it ends. Mean_prob is the mean over
    its frames of the probability of its own action. A note stands in a last column, in every row.
    """
    more = ((), ()) if note is None else (("Note",), (note,))
    with atomic.replace(path) as draft, open(draft, "w", newline="") as file:
        writer = spreadsheet.Writer(file)
        writer.writerow((*BOUT_COLUMNS, *more[0]))
        bouts = list(zip(*(part.tolist() for part in find_runs(actions)), strict=True))
        for number, (start, stop, action) in enumerate(bouts, start=1):
            seconds = (f"{time:.4f}" for time in (edges[start], edges[stop], edges[stop] - edges[start]))
            sure = float(probs[start:stop, action].mean())
            writer.writerow([number, classes[action], start, stop - 1, stop - start, *seconds, f"{sure:.5f}", *more[1]])
    return len(bouts)


def write_track(path: Path, xy: np.ndarray, points: list[str]) -> None:
    """Predicted points (T, K, 2) in source pixels as a DeepLabCut CSV, which DeepLabCut and SimBA read too.

    Both need the column likelihood. It is 1 throughout, for the model gives none: a threshold on it leaves nothing out.
    """
    head = (
        ("scorer", *([OWN[0]] * 3 * len(points))),
        ("bodyparts", *(name for name in points for _ in range(3))),
        ("coords", *("x", "y", "likelihood") * len(points)),
    )
    with atomic.replace(path) as draft, open(draft, "w", newline="") as file:
        writer = spreadsheet.Writer(file)
        writer.writerows(head)
        for number, row in enumerate(xy):
            writer.writerow([number, *(text for x, y in row for text in (f"{x:.3f}", f"{y:.3f}", "1.0"))])
