"""`<stem>DLC_tarpon.csv` as DeepLabCut and SimBA read it: scorer, bodyparts, coords; x, y and likelihood of each point."""

from pathlib import Path

import numpy as np

from tarpon.shards import atomic, spreadsheet
from tarpon.tools.mouse.labelled import Labelled

SCORER = "DLC_tarpon"


def write(labelled: Labelled, out: Path) -> Path:
    """Write the points that the model regressed; returns the path.

    The model gives no likelihood of a point, and the readers want one: 1 in the picture and 0 outside of it, which no tracked
    point can be. It says nothing of how sure a point is.
    """
    width, height = labelled.size
    xy = labelled.predicted
    inside = ((xy >= 0) & (xy <= [width, height])).all(-1, keepdims=True)
    rows = np.concatenate([xy, inside.astype(xy.dtype)], -1).reshape(len(xy), -1)
    path = out / f"{labelled.path.stem}{SCORER}.csv"
    with atomic.replace(path) as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        writer = spreadsheet.Writer(file)
        writer.writerow(["scorer", *([SCORER] * 3 * len(labelled.points))])
        writer.writerow(["bodyparts", *(name for name in labelled.points for _ in range(3))])
        writer.writerow(["coords", *("x", "y", "likelihood") * len(labelled.points)])
        for number, row in enumerate(rows):
            writer.writerow([number, *(f"{value:.3f}" for value in row)])
    return path
