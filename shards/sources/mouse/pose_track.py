"""The track of one animal on one video: read from any pose file, checked, and placed frame by frame.

T frames of the video, K points asked for.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tarpon.shards.bounded_text import check_header
from tarpon.shards.sources.mouse import dlc, pose_sleap
from tarpon.shards.sources.mouse.pose_outside import FEW, MARGIN, carried_off, outside, reach
from tarpon.shards.sources.mouse.pose_points import find_point
from tarpon.shards.sources.mouse.pose_table import PoseTable
from tarpon.shards.sources.mouse.pose_text import first_line, read_text

ROUNDING = 1e-3  # a likelihood so far outside of 0..1 is 0 or 1
WRONG = 0.1  # share of rows with an impossible value above which the file is not believed
MAX_BLANK = 0.5  # share of frames without any point above which the file is refused; --max_blank


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """Points over time."""

    points: tuple[str, ...]
    xyl: np.ndarray  # (T, K, 3) float32: x, y in source pixels, likelihood; NaN x, y and likelihood 0 where not labelled
    frames: np.ndarray  # (R,) int64: the frames that the file has a row for
    scorer: str
    software: str
    path: Path
    remarks: tuple[str, ...] = ()  # what was mended or left out, for the user


def read_track(
    path: Path,
    points: Sequence[str],
    *,
    individual: str | None = None,
    scorer: str | None = None,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    max_blank: float = MAX_BLANK,
) -> Track:
    """Read the named points of one animal and place them on the frames of its video.

    Args:
        path: of DeepLabCut, Lightning Pose or EKS (.csv, .h5 with the h5 extra) or of SLEAP (analysis .csv, .h5 with h5py).
        points: which, in which order; aliases work both ways.
        individual: which animal of several; may be None where there is one.
        scorer: whose points, of several; our own predictions are taken only when it names them.
        frames: the video's; a file with rows for later frames is refused, for any of its points may be shifted.
        size: the video's (width, height) in pixels; points far outside are impossible.
        max_blank: largest share of frames without any point.

    Returns:
        T is up to the last row of the file, and all `frames` where the software leaves frames without an animal out.

    Raises:
        ValueError: in one line, without the file's name; `line N: ` at its start where one line is to blame.
    """
    table = read_pose(path, individual=individual, scorer=scorer)
    if table.software == "Tarpon" and scorer not in dlc.OWN:
        raise ValueError(f"its points were predicted by Tarpon; --scorer {dlc.OWN[0]} takes them all the same")
    table, past = within(table, frames=frames)  # first: a table of another video has points outside of this one's picture too
    given = select(table, points)
    values, remarks = mend(table, given, size=size)
    xyl, more = place(table, values, frames=frames)
    blank = ~np.isfinite(xyl[..., 0]).any(1)
    if blank.all():
        raise ValueError("has no point in any frame")
    held = np.isin(np.arange(len(blank)), table.index[~_unlabelled(given).all(1)])
    if (empty := blank & ~held).mean() > max_blank:  # in the file itself; impossible points are judged above
        raise ValueError(
            f"{empty.sum()} of {len(blank)} frames have no point at all; at most {max_blank:.0%} may (--max_blank)"
        )
    if blank.any():
        more = (*more, f"{blank.sum()} of {len(blank)} frames have no point, the first is frame {blank.argmax()}")
    return Track(
        points=tuple(points),
        xyl=xyl.astype(np.float32),
        frames=table.index,
        scorer=table.scorer,
        software=table.software,
        path=path,
        remarks=(*table.remarks, *past, *remarks, *more),
    )


HEAD_BYTES, HEAD_LINES = 2**18, 20  # of a pose file, where only its head is looked at: 3 rows of 1000 columns, and blank lines


def check_head(path: Path, points: Sequence[str], *, individual: str | None = None, scorer: str | None = None) -> None:
    """ValueError where the head of a CSV says that `read_track` will refuse it; the rest and other files are not looked at."""
    if path.suffix.lower() == ".csv":
        text = "\n".join(read_text(path, most=HEAD_BYTES).split("\n", HEAD_LINES)[:HEAD_LINES])
        select(_read_csv(text, individual=individual, scorer=scorer), points)


def read_pose(path: Path, *, individual: str | None = None, scorer: str | None = None) -> PoseTable:
    """A pose file by its content: the layout of SLEAP, or that of DeepLabCut."""
    if path.suffix.lower() in (".h5", ".hdf5"):
        if _has_sleap_arrays(path):
            return pose_sleap.read_h5(path, individual=individual)
        return dlc.read_h5(path, individual=individual, scorer=scorer)
    check_header(path)
    return _read_csv(read_text(path), individual=individual, scorer=scorer)


def _read_csv(text: str, *, individual: str | None, scorer: str | None) -> PoseTable:
    if "frame_idx" in [cell.strip(' "') for cell in re.split(r"[,;\t]", first_line(text))]:
        return pose_sleap.read_csv(text, individual=individual)
    return dlc.read_csv(text, individual=individual, scorer=scorer)


def _has_sleap_arrays(path: Path) -> bool:
    try:
        return pose_sleap.is_analysis(path)
    except OSError as error:
        raise ValueError(f"is not an HDF5 file ({error})") from error
    except ValueError:  # without h5py, the name decides
        if ".analysis" in path.name.lower():
            raise
        return False


def within(table: PoseTable, *, frames: int | None) -> tuple[PoseTable, tuple[str, ...]]:
    """The rows within the video, and a remark on empty ones that were past it. ValueError where they are another video's."""
    if frames is None:
        return table, ()
    past, remarks = table.index >= frames, ()
    if past.any():
        if past.all() or not _unlabelled(table.values[past]).all():
            raise ValueError(_too_long(table, frames))
        remarks = (f"{past.sum()} rows without a point are past the {frames} frames of the video: left out",)
        lines = None if table.lines is None else table.lines[~past]
        table = replace(table, values=table.values[~past], index=table.index[~past], lines=lines)
    if len(table.index) > 1 and table.index.min() == 1 and table.index.max() == len(table.index):
        raise ValueError(
            f"its rows count from 1 to {len(table.index)}: whether row 1 is the first frame or the second cannot be told; "
            f"write the frame numbers from 0"
        )
    return table, remarks


def _unlabelled(values: np.ndarray) -> np.ndarray:
    """(...) bool of (..., 3): blank, or all 0, which DeepLabCut writes for a frame that it could not read."""
    return np.isnan(values[..., :2]).any(-1) | (values == 0).all(-1)


def select(table: PoseTable, points: Sequence[str]) -> np.ndarray:
    """(R, K, 3) of the named points, in their order."""
    columns = []
    for name in points:
        part = find_point(name, table.parts)
        if part is None:
            there = ", ".join(table.parts)
            raise ValueError(f"no body part {name!r}; the file has {there}: name those to use with --keypoints a,b,c")
        columns.append(table.parts.index(part))
    return table.values[:, columns]


def mend(table: PoseTable, values: np.ndarray, *, size: tuple[int, int] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Blank what is not labelled and what is impossible; ValueError where too many rows are impossible.

    Returns:
        (R, K, 3): both of x, y finite, or NaN with likelihood 0; and remarks that count and name what was impossible.
    """
    xy, likelihood = values[..., :2], values[..., 2]
    blank = _unlabelled(values)
    unlikely = ~blank & ((likelihood < -ROUNDING) | (likelihood > 1 + ROUNDING))
    far = ~blank & np.isinf(xy).any(-1)
    if size is not None:
        far |= ~blank & outside(xy, size, margin=MARGIN)
    reason = ""
    if size is not None and far.any(1).mean() > WRONG:
        reason = f"{reach(xy, size)}: {_OTHER}?"
        if not table.sparse and carried_off(xy, out := ~blank & outside(xy, size), size):
            far, reason = out, CARRIED
    what = f"a point {'' if reason == CARRIED else 'far '}outside of the picture"
    remarks = [
        _judged(table, unlikely, "a likelihood outside of 0 to 1", shown=lambda at: f"{likelihood[at]:.6g}"),
        _judged(table, far, what, shown=lambda at: _place(xy[at]), reason=reason),
    ]
    blank = blank | unlikely | far
    if size is not None and (share := outside(xy[~blank], size).mean() if not blank.all() else 0) > FEW:
        remarks.append(f"{share:.0%} of the points lie outside of the picture (kept); {reach(xy[~blank], size)}: {_OTHER}?")
    out = np.empty_like(values)
    out[..., :2] = np.where(blank[..., None], np.nan, xy)
    out[..., 2] = np.where(blank | np.isnan(likelihood), 0, np.clip(likelihood, 0, 1))
    return out, tuple(filter(None, remarks))


CARRIED = "it went there step by step, as a filter goes on that sees the animal no more"
_OTHER = "tracked at another resolution, before cropping, or in another video"


def _judged(
    table: PoseTable, wrong: np.ndarray, what: str, *, shown: Callable[[tuple[int, int]], str], reason: str = ""
) -> str | None:
    """The remark on rows that hold an impossible value, None where there are none; ValueError where there are too many.

    Args:
        wrong: (R, K) bool; what: is wrong; shown: a value of it by (row, point).
        reason: of so many; CARRIED excuses them.
    """
    rows = np.flatnonzero(wrong.any(1))
    if not len(rows):
        return None
    at = int(rows[0]), int(wrong[rows[0]].argmax())
    text = f"{len(rows)} of {len(wrong)} rows have {what}, the first is {shown(at)} at {table.where(at[0])}"
    if reason != CARRIED and len(rows) > WRONG * len(wrong):
        raise ValueError(f"{text}; at most {WRONG:.0%} may; {reason or 'is this the table of this video?'}")
    return f"{text}: {f'{reason}; ' if reason else ''}taken as not labelled"


def _place(xy: np.ndarray) -> str:
    return f"x, y = {xy[0]:.6g}, {xy[1]:.6g}"


def place(table: PoseTable, values: np.ndarray, *, frames: int | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Rows (R, K, 3) to their frames: (T, K, 3), NaN and likelihood 0 where there is no row; and a remark on gaps."""
    end = int(table.index.max()) + 1
    out = np.full((frames if frames is not None and table.sparse else end, *values.shape[1:]), np.nan)
    out[..., 2] = 0
    out[table.index] = values
    missing = end - len(table.index)
    if not missing or table.sparse:
        return out, ()
    first = np.setdiff1d(np.arange(end), table.index)[0]
    return out, (f"{missing} frames have no row, the first is frame {first}: their points are not labelled",)


def _too_long(table: PoseTable, frames: int) -> str:
    row = int(np.argmax(table.index >= frames))
    if table.index.min() == 1 and table.index.max() == len(table.index) == frames:
        return f"its rows count from 1 to {frames}, the video has {frames} frames: write the frame numbers from 0"
    if len(table.index) > frames:
        return f"{len(table.index)} rows, the video has {frames} frames: every point may be shifted; track this video again"
    return f"{table.where(row)} is past the {frames} frames of the video; is this the table of this video?"
