"""A label file of any known format; its head says which."""

from pathlib import Path

from tarpon.shards.sources.mouse.labels_classes import ClassNames
from tarpon.shards.sources.mouse.labels_frames import INDEX, FrameLabels, is_one_hot, read_actions, read_one_hot
from tarpon.shards.sources.mouse.labels_intervals import Intervals, header, read_intervals
from tarpon.shards.sources.mouse.labels_text import column_names, read_cells

TAKEN = "an Action column, a column of 0 and 1 a class, or start, stop and behaviour a bout"


def read_labels(
    path: Path, classes: ClassNames, *, video: str = "", subject: str | None = None, unit: str = "auto"
) -> FrameLabels | Intervals:
    """Classes of frames, or of bouts; `took` says which format it was.

    Args:
        video: file name of the recording, for tables of several.
        subject: which animal, for tables of several.
        unit: of bouts: frames, seconds or auto.

    Raises:
        ValueError: in one line, starting with `row N: ` where row N (from 0, below the header) is to blame.
    """
    rows = read_cells(path)
    place = header(rows)
    if place is not None:
        head, body = rows[place], rows[place + 1 :]
        names = column_names(head)
        body = [row + [""] * (len(head) - len(row)) for row in body if any(row)]
        return read_intervals(head, names, body, classes, video=video, subject=subject, unit=unit)
    head, body = (rows[0], rows[1:]) if rows else ([], [])
    names = column_names(head)
    for number, row in enumerate(body):
        if any(row[len(head) :]):
            raise ValueError(f"row {number}: has {len(row)} cells, the header {len(head)}")
    if "action" in names:
        return read_actions(names, body, classes)
    if body and is_one_hot(names, body):
        return read_one_hot(head, names, body, classes)
    there = ", ".join(name for name in names if name not in INDEX[:1]) or "nothing"
    raise ValueError(f"no Action column; it has {there}; taken are {TAKEN}")
