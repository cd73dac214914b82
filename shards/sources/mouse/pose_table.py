"""One animal's pose file as it stands: the rows a file holds, before they are placed on a video.

R rows of the file, P points of the file.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MOST_FRAMES = 10**7  # 92 hours at 30 frames/s: a larger number is no frame, and placing it would fill the memory


@dataclass(frozen=True, kw_only=True, eq=False)
class PoseTable:
    """The points of one animal and one scorer."""

    parts: tuple[str, ...]  # as the file names them
    values: np.ndarray  # (R, P, 3) float64: x, y in source pixels, likelihood; NaN: blank; likelihood 1 where there is none
    index: np.ndarray  # (R,) int64: the video frame of each row, as the file says
    lines: np.ndarray | None  # (R,) int64: line of the text file, counted from 1; None for a binary file
    scorer: str
    software: str  # DeepLabCut | Lightning Pose | EKS | SLEAP | Tarpon
    sparse: bool = False  # a frame without a row is one without an animal (or label), also after the last row
    remarks: tuple[str, ...] = ()

    def where(self, row: int) -> str:
        """How to name a row in a message."""
        return f"frame {self.index[row]}" if self.lines is None else f"line {self.lines[row]} (frame {self.index[row]})"


def pick_one(names: Sequence[str], wanted: str | None, *, what: str, option: str) -> str:
    """The only name, or the wanted one; ValueError that lists them and names the option."""
    if wanted is not None:
        if wanted not in names:
            raise ValueError(f"has no {what} {wanted!r}; it holds {', '.join(sorted(names))}")
        return wanted
    if len(names) > 1:
        raise ValueError(f"holds the {what}s {', '.join(sorted(names))}; pick one with {option}")
    return names[0]


def frame_numbers(stamps: Sequence[Sequence[str]], lines: np.ndarray | None) -> tuple[np.ndarray, bool]:
    """Frames of rows by their first cells: whole numbers, or names of images that end in the frame (img00004.png).

    Args:
        stamps: the row's first cells; for images also their folders.
        lines: (R,) line numbers for messages.

    Returns:
        (R,) int64 frames; True where they are names of images.

    Raises:
        ValueError: neither, negative, of several videos, or the same frame twice.
    """

    def line(row: int) -> str:
        return f"row {row + 1}" if lines is None else f"line {lines[row]}"

    whole = re.compile(r"[+-]?\d+(\.0*)?")
    last = [str(cells[-1]).strip() for cells in stamps]
    images = whole.fullmatch(last[0]) is None
    index = np.empty(len(last), np.int64)
    folders: dict[str, int] = {}
    for row, (text, cells) in enumerate(zip(last, stamps, strict=True)):
        match = re.search(r"(\d+)\.(?i:png|jpe?g|bmp|tiff?)$", text) if images else whole.fullmatch(text)
        if match is None:
            raise ValueError(f"{line(row)}: {text or '(blank)'} is neither a frame number nor the name of an image with one")
        if images:
            index[row] = min(int(match[1]), MOST_FRAMES)
            folders.setdefault("/".join([*map(str, cells[:-1]), text[: match.start()]]), row)
        else:
            index[row] = min(int(text.split(".")[0]), MOST_FRAMES)
    if len(folders) > 1:
        (one, _), (two, row) = list(folders.items())[:2]
        raise ValueError(f"{line(row)}: holds frames of several videos ({one}..., {two}...); leave those of one")
    check_index(index, line=line)
    return index, images


def check_index(index: np.ndarray, *, line: Callable[[int], str]) -> None:
    """ValueError where a frame is negative, beyond any video, or stands twice; `line` names a row."""
    if len(index) and index.min() < 0:
        row = int(index.argmin())
        raise ValueError(f"{line(row)}: frame {index[row]} is negative; frames count from 0")
    if len(index) and index.max() >= MOST_FRAMES:
        raise ValueError(f"{line(int(index.argmax()))}: a frame number of {MOST_FRAMES} or more is none of a video")
    order = np.argsort(index, kind="stable")
    twice = np.flatnonzero(np.diff(index[order]) == 0)
    if len(twice):
        row = int(order[twice + 1].min())
        raise ValueError(f"{line(row)}: frame {index[row]} stands a second time; each frame may have one row")
