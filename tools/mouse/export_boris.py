"""`<stem>_boris.csv`: bouts as the tabular events that BORIS exports, two rows a bout: START and STOP."""

import csv
from datetime import UTC, datetime
from pathlib import Path

from tarpon.shards import atomic
from tarpon.shards.spreadsheet import guard_row
from tarpon.tools.mouse.labelled import Labelled
from tarpon.train.tasks.mouse.metrics.segments import find_runs

COLUMNS = (
    "Observation id", "Observation date", "Description", "Observation duration", "Observation type", "Source",
    "Time offset (s)", "Media duration (s)", "FPS (frame/s)", "Subject", "Behavior", "Behavioral category", "Behavior type",
    "Time", "Media file name", "Image index", "Image file path", "Comment",
)  # fmt: skip


def write(labelled: Labelled, out: Path) -> Path:
    """Write the table; returns its path.

    Times are seconds from the start of frame 0. A bout stops where the next one starts, its STOP row before that START row, and
    Image index is the frame at that time, counted from 0: the first one that is not part of the bout for a STOP.
    The date is that of the video file's last change.
    """
    name, seconds = labelled.path.name, float(len(labelled.actions) / labelled.fps)
    changed = datetime.fromtimestamp(labelled.path.stat().st_mtime, tz=UTC)
    always = {
        "Observation id": labelled.path.stem,
        "Observation date": f"{changed:%Y-%m-%d %H:%M:%S}",
        "Description": "predicted by Tarpon",
        "Observation duration": f"{seconds:.3f}",
        "Observation type": "Media file",
        "Source": f"player #1:{name}",
        "Time offset (s)": "0.000",
        "Media duration (s)": f"{seconds:.3f}",
        "FPS (frame/s)": f"{float(labelled.fps):.3f}",
        "Subject": "No focal subject",
        "Media file name": name,
    }
    path = out / f"{labelled.path.stem}_boris.csv"
    with atomic.replace(path) as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for start, stop, action in zip(*(part.tolist() for part in find_runs(labelled.actions)), strict=True):
            for kind, frame in (("START", start), ("STOP", stop)):
                moment = {"Behavior type": kind, "Time": f"{float(frame / labelled.fps):.3f}", "Image index": frame}
                writer.writerow(guard_row(always | moment | {"Behavior": labelled.classes[action]}))
    return path
