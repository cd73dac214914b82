"""Tables of a row a bout: start, stop, and what was done. BORIS (both exports), DLCAnalyzer, Tarpon's own bouts, plain ones.

A start or stop in seconds is the nearest frame; the stop's own frame is no longer in it, so that bouts that touch do not
overlap. In frames both ends belong to the bout.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np

from tarpon.shards.sources.mouse.labels_classes import UNSCORED, ClassNames
from tarpon.shards.sources.mouse.labels_text import column, number

KIND = ("behavior", "behaviour", "type", "action", "label", "event", "class")
START = ("start (s)", "onset", "start", "from", "start_frame", "start frame", "start_s", "begin", "start (frame)")
STOP = ("stop (s)", "offset", "stop", "to", "stop_frame", "stop frame", "stop_s", "end", "stop (frame)", "end_frame", "end_s")
FILES = ("media file name", "media file path", "media file", "source", "video", "file", "csvname", "dlcfile")
SUBJECTS = ("subject", "individual", "animal")
STATUS = ("behavior type", "behaviour type", "status")
UNITS = ("frames", "seconds")


@dataclass(frozen=True, kw_only=True, eq=False)
class Intervals:
    """Bouts in the table's own unit."""

    took: str  # the format, as it was recognised
    bouts: tuple[tuple[float, float, int, int], ...]  # start, stop, class, row of the table
    seconds: bool
    gap: int  # class of what no bout covers

    def in_frames(self, fps: float) -> list[tuple[int, int, int, int]]:
        """(first frame, frame after the last, class, row) of each bout; a point in time is one frame."""
        found = []
        for start, stop, action, row in self.bouts:
            first, end = (round(start * fps), round(stop * fps)) if self.seconds else (int(start), int(stop) + 1)
            found.append((first, max(end, first + 1) if start == stop else end, action, row))
        return found

    def label_frames(self, *, first: int, frames: int, fps: float) -> np.ndarray:
        """(frames,) int8 from frame `first` on. ValueError where two classes lie on one frame."""
        actions, owner = np.full(frames, self.gap, np.int8), np.full(frames, -1)
        for begin, end, action, row in self.in_frames(fps):
            span = slice(max(begin - first, 0), max(end - first, 0))
            other = owner[span][(owner[span] >= 0) & (actions[span] != action)]
            if len(other):
                raise ValueError(f"row {row}: overlaps another class's bout of row {other[0]}; a frame has one class")
            actions[span], owner[span] = action, row
        return actions


def header(rows: Sequence[Sequence[str]]) -> int | None:
    """Row of the header of a table of bouts, None where it is none."""
    for place, row in enumerate(rows[:30]):
        names = [cell.lower() for cell in row]
        timed = (any(name in names for name in START) and any(name in names for name in STOP)) or (
            "time" in names and any(name in names for name in STATUS)
        )
        if timed and any(name in names for name in KIND):
            return place
    return None


def read_intervals(
    head: Sequence[str],
    names: dict[str, int],
    rows: Sequence[Sequence[str]],
    classes: ClassNames,
    *,
    video: str,
    subject: str | None,
    unit: str,
) -> Intervals:
    """ValueError in one line, starting with `row N: ` where one row is to blame.

    Args:
        video: file name; rows of other recordings are left out. Empty: all are taken.
        subject: which animal, where the table tells several.
        unit: frames, seconds, or auto: what the columns' names say, else seconds where a number is no whole one.
    """
    kept = _of_video(names, rows, list(range(len(rows))), video)
    kept = _of_subject(names, rows, kept, subject)
    kind = next(name for name in KIND if name in names)
    start, stop = (next((name for name in choices if name in names), None) for choices in (START, STOP))
    if start and stop:
        pairs = [(place, rows[place][names[start]], rows[place][names[stop]]) for place in kept]
        took = "BORIS aggregated events" if start == "start (s)" and kind == "behavior" else f"bouts ({start}, {stop}, {kind})"
    else:
        pairs, took, start = _paired(names, rows, kept, kind), "BORIS tabular events", "time (s)"
    bouts = []
    for place, *ends in pairs:
        begin, end = (number(text) for text in ends)
        if begin is None or end is None:
            raise ValueError(f"row {place}: {ends[0]!r} to {ends[1]!r} is no stretch of time")
        if not 0 <= begin <= end:
            raise ValueError(f"row {place}: starts at {begin:g} and stops at {end:g}")
        try:
            action = classes.number(rows[place][names[kind]])
        except ValueError as error:
            raise ValueError(f"row {place}: {kind} {error}") from None
        if action != UNSCORED or classes.gap() != UNSCORED:
            bouts.append((begin, end, action, place))
    return Intervals(took=took, bouts=tuple(bouts), seconds=_in_seconds(start, bouts, unit), gap=classes.gap())


def _in_seconds(start: str, bouts: Sequence[tuple], unit: str) -> bool:
    if unit != "auto":
        return unit == "seconds"
    if "frame" in start or start == "onset":  # Tarpon's own bouts have Onset in frames and Onset_s beside it
        return False
    if re.search(r"\(s\)|_s$", start) or any(value != int(value) for bout in bouts for value in bout[:2]):
        return True
    if not bouts:
        return True
    raise ValueError(f"column {start} may be frames or seconds, all its numbers are whole: say --label_unit frames or seconds")


def _paired(names: dict[str, int], rows: Sequence[Sequence[str]], kept: Sequence[int], kind: str) -> list[tuple]:
    """START and STOP rows of BORIS -> (row, start, stop)."""
    status = next(name for name in STATUS if name in names)
    running: dict[str, tuple[int, str]] = {}
    found = []
    for place in kept:
        what, time, word = (rows[place][names[name]] for name in (kind, "time", status))
        word = word.upper()
        if word.startswith("POINT"):
            found.append((place, time, time))
        elif word in ("START", "STATE START") and what not in running:
            running[what] = (place, time)
        elif word in ("STOP", "STATE STOP") and what in running:
            began, since = running.pop(what)
            found.append((began, since, time))
        else:
            raise ValueError(f"row {place}: {what} {word or 'blank'} without its counterpart; START, STOP or POINT is expected")
    if running:
        what, (place, _) = next(iter(running.items()))
        raise ValueError(f"row {place}: {what} starts and never stops")
    return sorted(found)


def _of_video(names: dict[str, int], rows: Sequence[Sequence[str]], kept: list[int], video: str) -> list[int]:
    """Rows of this recording, by a column that names files; all where there is none."""
    if not video:
        return kept
    stem = video.rpartition(".")[0].lower()
    for name in FILES:
        cells = column(rows, names[name]) if name in names else []
        said = {cell for cell in cells if re.search(r"\.\w{2,4}$", cell) or name in ("csvname", "dlcfile", "video", "file")}
        if not any(said):
            continue
        here = [place for place in kept if _names_it(cells[place], stem)]
        if not here:
            raise ValueError(f"its column {name} names {', '.join(sorted(said)[:3])} and not {video}")
        return here
    return kept


def _names_it(cell: str, stem: str) -> bool:
    """`player #1:C:\\lab\\m1.mp4`, `/lab/m1.avi`, `m1DLC_net.csv` of m1."""
    name = PurePosixPath(PureWindowsPath(cell.rpartition(":")[2]).name).name.lower()
    return name.rpartition(".")[0] == stem or name == stem or name.startswith((f"{stem}dlc_", f"{stem}deepcut_"))


def _of_subject(names: dict[str, int], rows: Sequence[Sequence[str]], kept: list[int], subject: str | None) -> list[int]:
    place = next((names[name] for name in SUBJECTS if name in names), None)
    if place is None:
        return kept
    there = sorted({rows[row][place] for row in kept})
    if subject is not None and there != [""]:
        if subject not in there:
            raise ValueError(f"has no subject {subject!r}; it holds {', '.join(there)}")
        return [row for row in kept if rows[row][place] == subject]
    if len(there) > 1:
        raise ValueError(f"holds the subjects {', '.join(name or '(none)' for name in there)}; pick one with --individual")
    return kept
