"""`<stem>_labels.csv` as DeepEthogram reads it: a row a frame, a column a class, 0 or 1, `background` first."""

from pathlib import Path

import numpy as np

from tarpon.shards import atomic, spreadsheet
from tarpon.tools.mouse.labelled import Labelled

BACKGROUND = "background"
REST = (BACKGROUND, "rest", "none", "other")  # classes that mean that nothing of interest happens: the background column


def write(labelled: Labelled, out: Path) -> Path:
    """Write the table; returns its path. Exactly one column of a row is 1."""
    rest = next((name for own in REST for name in labelled.classes if name.lower() == own), None)
    named = [name for name in labelled.classes if name != rest]
    place = [-1 if name == rest else named.index(name) for name in labelled.classes]
    columns = np.array(place)[labelled.actions] + 1  # (T,) with background at 0
    path = out / f"{labelled.path.stem}_labels.csv"
    with atomic.replace(path) as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        writer = spreadsheet.Writer(file)
        writer.writerow(["", BACKGROUND, *named])
        for number, column in enumerate(columns.tolist()):
            writer.writerow([number, *(int(at == column) for at in range(len(named) + 1))])
    return path
