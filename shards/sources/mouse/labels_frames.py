"""Tables of a row a frame: an Action column (numbers or names; Tarpon's own predictions), or a column of 0 and 1 a class."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tarpon.shards.sources.mouse.labels_classes import UNSCORED, ClassNames
from tarpon.shards.sources.mouse.labels_text import column, number

INDEX = ("", "frame", "unnamed: 0", "index", "frames", "frame_number")
STIMULUS = ("stimframe", "stim_frame", "stimstart", "laseron", "stim")
SWITCHES = ("laseron", "stim")  # may be on or off in each frame; the others are a frame's number


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameLabels:
    """A class for each of R rows; where they lie on the video is not said here."""

    took: str  # the format, as it was recognised
    actions: np.ndarray  # (R,) int8, UNSCORED where none
    begin: int | None  # what the Frame column says of the first row; None without one
    stimulus: int | None = None  # a frame's number, in the Frame column's way of counting; None: not told
    switched: np.ndarray | None = None  # (R,) bool, a stimulus column that is on or off in each row


def read_actions(names: dict[str, int], rows: Sequence[Sequence[str]], classes: ClassNames) -> FrameLabels:
    """The table of an Action column. ValueError in one line, starting with `row N: ` where one row is to blame."""
    actions, known = [], {}  # a video has thousands of rows and a few classes
    for place, text in enumerate(column(rows, names["action"])):
        if not text:
            raise ValueError(f"row {place}: Action is blank")
        try:
            if text not in known:
                known[text] = classes.number(text)
            actions.append(known[text])
        except ValueError as error:
            raise ValueError(f"row {place}: Action {error}") from None
    probabilities = [name for name in names if name.endswith("_prob")]
    return FrameLabels(
        took="predictions of Tarpon" if probabilities else "Action a frame",
        actions=np.array(actions, np.int8),
        begin=_begin(names, rows),
        **_stimulus(names, rows),
    )


def is_one_hot(names: dict[str, int], rows: Sequence[Sequence[str]]) -> bool:
    """Every column but the first index is 0 or 1, or -1 where a frame is not scored."""
    marks = [place for name, place in names.items() if name not in INDEX]
    return len(marks) > 1 and all(number(cell) in (0, 1, -1) for place in marks for cell in column(rows[:50], place))


def read_one_hot(head: Sequence[str], names: dict[str, int], rows: Sequence[Sequence[str]], classes: ClassNames) -> FrameLabels:
    """The table of DeepEthogram and Lightning Action. A row of -1, of 0 or of background alone is not scored."""
    marks = [place for name, place in names.items() if name not in INDEX and name not in STIMULUS]
    numbers = []
    for place in marks:
        try:
            numbers.append(classes.number(head[place]))
        except ValueError as error:
            raise ValueError(f"column {error}") from None
    actions = np.full(len(rows), UNSCORED, np.int8)
    for place, row in enumerate(rows):
        cells = [number(row[mark]) if mark < len(row) else None for mark in marks]
        if not set(cells) <= {0, 1, -1}:
            raise ValueError(f"row {place}: holds something other than 0, 1 and -1")
        on = [mark for mark, cell in enumerate(cells) if cell == 1]
        found = {numbers[mark] for mark in on}
        if len(found) > 1:
            raise ValueError(f"row {place}: {' and '.join(head[marks[mark]] for mark in on)} at once; a frame has one class")
        actions[place] = found.pop() if found else UNSCORED if -1 in cells else classes.gap()
    return FrameLabels(took="one-hot", actions=actions, begin=_begin(names, rows), **_stimulus(names, rows))


def _begin(names: dict[str, int], rows: Sequence[Sequence[str]]) -> int | None:
    if "frame" not in names or not rows:
        return None
    cells = column(rows, names["frame"])
    if not all(cell.isdecimal() or re.fullmatch(r"\d+([.,]0*)?", cell) for cell in cells):  # the pattern takes 20 times as long
        raise ValueError("Frame column holds something other than whole numbers")
    numbers = [int(cell if cell.isdecimal() else re.split("[.,]", cell)[0]) for cell in cells]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise ValueError("Frame column does not count up by 1")
    return numbers[0]


def _stimulus(names: dict[str, int], rows: Sequence[Sequence[str]]) -> dict:
    """`stimulus` or `switched` of the stimulus column, if there is one."""
    there = [name for name in STIMULUS if name in names]
    if len(there) > 1:
        raise ValueError(f"stimulus columns {' and '.join(there)}; leave one")
    if not there or not rows:
        return {}
    name, cells = there[0], column(rows, names[there[0]])
    values = [number(cell) if cell else 0.0 for cell in cells]
    if None in values:
        place = values.index(None)
        raise ValueError(f"row {place}: stimulus frame {cells[place]!r} is not a number")
    filled = [place for place, cell in enumerate(cells) if cell]
    if not filled:
        return {}
    if len(rows) > 1 and len(filled) == len(rows) and set(values) in ({0.0}, {1.0}) and name in SWITCHES:
        return {"switched": np.array(values) > 0}
    if filled == [0] or (len(filled) == len(rows) and len(set(values)) == 1):
        if values[0] != int(values[0]) or values[0] < 0:
            raise ValueError(f"row 0: stimulus frame {cells[0]!r} is not a whole number")
        return {"stimulus": int(values[0])}
    if len(set(values)) == 2 and min(values) == 0:
        return {"switched": np.array(values) > 0}
    raise ValueError(f"stimulus column {name} changes from row to row and is neither one frame's number nor on and off")
