"""One annotation file, placed on the video: the labels of a trial, or of every trial of a video."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tarpon.shards.quarantine import Fault
from tarpon.shards.sources.mouse.counting import offset_by_rows, place_rows, proofs
from tarpon.shards.sources.mouse.labels import read_labels
from tarpon.shards.sources.mouse.labels_frames import FrameLabels
from tarpon.shards.sources.mouse.labels_intervals import Intervals
from tarpon.shards.sources.mouse.units import MouseSource, TrialFile

STIMULUS, NO_STIMULUS = 60, -1  # frame of the trial where a table does not say it; where it says that there was none


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Labels of one trial, placed on the video."""

    trial: int
    first: int  # video frame of row 0
    actions: np.ndarray  # (T,) int8
    stimulus: int  # frame within the trial, or NO_STIMULUS


def read_file(entry: TrialFile, source: MouseSource, *, video: str) -> FrameLabels | Intervals:
    return read_labels(Path(entry.path), source.class_names(), video=video, subject=source.individual, unit=source.label_unit)


def proofs_of(entry: TrialFile, source: MouseSource, *, video: str) -> set[str]:
    """How the Frame column of this file counts, where the file tells; nothing of a file that does not read."""
    if entry.trial is None or entry.first is not None or source.frame_column != "auto":
        return set()
    try:
        table = read_file(entry, source, video=video)
    except ValueError:  # its own fault, named when it is packed
        return set()
    if isinstance(table, Intervals) or table.begin is None:
        return set()
    return proofs(table.begin, len(table.actions), trial=entry.trial, span=source.trial_frames, offset=source.offset)


def read_trials(
    entry: TrialFile,
    source: MouseSource,
    *,
    video: str,
    fps: float,
    frames: Callable[[], int],
    proven: tuple[str, ...] = (),
) -> list[Labels | Fault]:
    """The trials of an annotation file.

    Args:
        video: file name; fps: frames/s of it; frames: counts its frames, asked only where the labels are of all of it.
        proven: ways of counting that Frame columns of the set speak for.

    Raises:
        ValueError: in one line, starting with `row N: ` where one row is to blame.
    """
    table = read_file(entry, source, video=video)
    if entry.trial is None:
        return _whole(entry, table, source, fps=fps, frames=frames)
    if isinstance(table, Intervals):
        return [_bouts(entry, table, source, fps=fps)]
    return [_rows(entry, table, source, proven=proven)]


def _rows(entry: TrialFile, table: FrameLabels, source: MouseSource, *, proven: tuple[str, ...]) -> Labels:
    """A row a frame, of one trial."""
    span, rows, way = source.trial_frames, len(table.actions), "zero"
    start = (entry.trial - 1) * span
    if entry.first is not None:
        if not 0 < rows <= span:
            raise ValueError(f"{rows} rows; a trial has 1 to {span} (--trial_frames)")
        first, offset = entry.first, 0
    else:
        if table.begin is None or source.frame_column == "ignore":
            offset = offset_by_rows(rows, span=span, offset=source.offset)
            if offset is None:  # the same words as where a column counts from 0
                place_rows(0, rows, trial=entry.trial, span=span, offset=source.offset, way="zero", proven=())
        else:
            offset, way = place_rows(
                table.begin, rows, trial=entry.trial, span=span, offset=source.offset, way=source.frame_column, proven=proven
            )
        first = start + offset
    return Labels(trial=entry.trial, first=first, actions=table.actions, stimulus=_stimulus(table, way, offset, start, span))


def _stimulus(table: FrameLabels, way: str, offset: int, start: int, span: int) -> int:
    """Within the trial; the column counts as the Frame column does. ValueError where it lies outside."""
    if table.switched is not None:
        return offset + int(table.switched.argmax()) if table.switched.any() else NO_STIMULUS
    if table.stimulus is None:
        return STIMULUS
    found = table.stimulus - way.endswith("one") - start * way.startswith("absolute")
    if not 0 <= found < span:
        raise ValueError(f"row 0: stimulus frame {table.stimulus} is outside of the trial of {span} frames")
    return found


def _bouts(entry: TrialFile, table: Intervals, source: MouseSource, *, fps: float) -> Labels:
    """Bouts of one trial, told in the trial's own time or in the video's."""
    span, start = source.trial_frames, (entry.trial - 1) * source.trial_frames
    first = start if entry.first is None else entry.first
    bouts = table.in_frames(fps)
    low, high = (min(b[0] for b in bouts), max(b[1] for b in bouts)) if bouts else (0, 0)
    way = source.frame_column
    if way == "auto":
        fits = [name for name, begin in (("zero", 0), ("absolute", first)) if begin <= low and high <= begin + span]
        way = fits[0] if fits else "none"
    if way == "none" or (high > span and not way.startswith("absolute")):
        raise ValueError(
            f"its bouts are of frames {low} to {high - 1}, trial {entry.trial} of {span} frames begins at frame {first} of the "
            f"video; --frame_column absolute says that they count the video's, --table takes labels of a whole video"
        )
    actions = table.label_frames(first=first if way.startswith("absolute") else 0, frames=span, fps=fps)
    return Labels(trial=entry.trial, first=first, actions=actions, stimulus=STIMULUS)


def _whole(
    entry: TrialFile, table: FrameLabels | Intervals, source: MouseSource, *, fps: float, frames: Callable[[], int]
) -> list[Labels | Fault]:
    """Labels of a whole video, cut into its trials; what is left over at the end is a fault."""
    first, span, count = entry.first or 0, source.trial_frames, frames()
    if isinstance(table, Intervals):
        late = [bout for bout in table.in_frames(fps) if bout[1] > count]
        if late:
            raise ValueError(f"row {late[0][3]}: its bout ends at frame {late[0][1] - 1}, the video has {count} frames")
        actions, table = table.label_frames(first=first, frames=count - first, fps=fps), None
    else:
        actions = table.actions
        if table.begin not in (None, 0, 1) and source.frame_column != "ignore" and entry.first is None:
            raise ValueError(f"Frame column begins with {table.begin}; labels of a whole video begin with 0 or 1")
        if len(actions) != count - first and (entry.first is None or len(actions) > count - first):
            raise ValueError(f"{len(actions)} rows, the video has {count} frames: they may be shifted (first_frame in --table)")
    found: list[Labels | Fault] = []
    for number, begin in enumerate(range(0, len(actions) - span + 1, span)):
        part = slice(begin, begin + span)
        found.append(Labels(
            trial=number + 1, first=first + begin, actions=actions[part], stimulus=_within(table, part),
        ))  # fmt: skip
    if rest := len(actions) % span:
        where = f"frames {first + len(actions) - rest} to {first + len(actions) - 1}"
        found.append(Fault(file=Path(entry.path).name, reason=f"{where} are less than a trial of {span} (--trial_frames)"))
    return found


def _within(table: FrameLabels | None, part: slice) -> int:
    """The stimulus of one trial of a whole video's table."""
    if table is None or (table.switched is None and table.stimulus is None):
        return STIMULUS
    if table.switched is not None:
        on = np.flatnonzero(table.switched[part])
        return int(on[0]) if len(on) else NO_STIMULUS
    return table.stimulus - part.start if part.start <= table.stimulus < part.stop else NO_STIMULUS


def fault_of(entry: TrialFile, error: ValueError) -> Fault:
    """The fault of a file that does not read, with its row."""
    row = re.match(r"row (\d+): (.*)", str(error))
    name = Path(entry.path).name
    return Fault(file=name, reason=row[2], row=int(row[1])) if row else Fault(file=name, reason=str(error))
