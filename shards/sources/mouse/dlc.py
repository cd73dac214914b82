"""DeepLabCut files: the points of one animal over time, from any header variant.

Layout after DeepLabCut (Mathis et al. 2018): header rows scorer / [individuals] / bodyparts / coords, then one row a
frame. Columns are matched on the exact body part, never on a part of the text.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MOUSE_POINTS = ("mouth", "tail_base", "L_frontpaw", "R_frontpaw", "L_hindpaw", "R_hindpaw")

# Names that mean the same point, compared without case and separators.
ALIASES = (
    ("mouth", "nose", "snout"),
    ("tail_base", "tailbase", "base_of_tail", "tail_root"),
    ("L_frontpaw", "left_front_paw", "left_frontpaw", "leftforepaw", "L_forepaw", "lfrontpaw", "frontpaw_L"),
    ("R_frontpaw", "right_front_paw", "right_frontpaw", "rightforepaw", "R_forepaw", "rfrontpaw", "frontpaw_R"),
    ("L_hindpaw", "left_hind_paw", "left_hindpaw", "lhindpaw", "hindpaw_L"),
    ("R_hindpaw", "right_hind_paw", "right_hindpaw", "rhindpaw", "hindpaw_R"),
)


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-.]", "", name).lower()


_MEANING = {_plain(name): group[0] for group in ALIASES for name in group}


def find_point(name: str, parts: Sequence[str]) -> str | None:
    """The file's own name of a point: the same text, else the same but for case and separators, else an alias."""
    if name in parts:
        return name
    for same in (
        lambda part: _plain(part) == _plain(name),
        lambda part: _plain(name) in _MEANING and _MEANING.get(_plain(part)) == _MEANING[_plain(name)],
    ):
        hits = [part for part in parts if same(part)]
        if len(hits) > 1:
            raise ValueError(f"body parts {', '.join(hits)} all mean {name}; name the one to use in --keypoints")
        if hits:
            return hits[0]
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """Points over time."""

    points: tuple[str, ...]
    xyl: np.ndarray  # (T, K, 3) float32: x, y in source pixels, likelihood; NaN x, y and likelihood 0 where not labelled


def read_track(path: Path, points: Sequence[str], *, individual: str | None = None) -> Track:
    """Read the named points of one animal.

    Args:
        path: a DeepLabCut .csv, or .h5 (needs the h5 extra).
        points: which, in which order; aliases work both ways.
        individual: which animal of a multi-animal file; may be None where there is one.

    Raises:
        ValueError: in one line, without the file's name.
    """
    header, index, values = _read_h5(path) if path.suffix == ".h5" else _read_csv(path)
    if individual is None and len({column[0] for column in header}) > 1:
        names = sorted({column[0] for column in header})
        raise ValueError(f"holds the animals {', '.join(names)}; pick one with --individual")
    if individual is not None and header and header[0][0] is not None:
        if individual not in {column[0] for column in header}:
            raise ValueError(f"has no animal {individual!r}; it holds {', '.join(sorted({c[0] for c in header}))}")
        keep = [i for i, column in enumerate(header) if column[0] == individual]
        header, values = [header[i] for i in keep], values[:, keep]
    if index != list(range(len(index))):
        wrong = next(i for i, frame in enumerate(index) if frame != i)
        raise ValueError(
            f"row {wrong + 1} is frame {index[wrong]}, frame {wrong} was expected; the file must hold every frame once"
        )
    parts = list(dict.fromkeys(column[1] for column in header))
    place = {column[1:]: i for i, column in enumerate(header)}
    out = np.zeros((len(values), len(points), 3), np.float32)
    for k, name in enumerate(points):
        part = find_point(name, parts)
        if part is None or (part, "x") not in place or (part, "y") not in place:
            raise ValueError(f"no body part {name!r}; the file has {', '.join(parts)}")
        xy = values[:, [place[part, "x"], place[part, "y"]]]
        likelihood = values[:, place[part, "likelihood"]] if (part, "likelihood") in place else np.ones(len(values))
        blank = ~np.isfinite(xy).all(1)
        out[:, k, :2] = np.where(blank[:, None], np.nan, xy)
        out[:, k, 2] = np.where(blank | ~np.isfinite(likelihood), 0, likelihood)
    return Track(points=tuple(points), xyl=out)


Header = list[tuple[str | None, str, str]]  # individual, body part, coordinate: one a column


def _read_csv(path: Path) -> tuple[Header, list[int], np.ndarray]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    names = {}
    while rows and rows[0] and rows[0][0].strip().lower() in ("scorer", "individuals", "bodyparts", "coords"):
        names[rows[0][0].strip().lower()] = rows[0]
        rows.pop(0)
    if "bodyparts" not in names or "coords" not in names:
        raise ValueError("not a DeepLabCut file: its first column must start with scorer, bodyparts, coords")
    # files of labelled frames may carry folder, video and image in up to three first columns
    first = next((i for i, text in enumerate(names["coords"]) if text.strip().lower() in ("x", "y", "likelihood")), None)
    if first is None or not rows:
        raise ValueError("holds no coordinates")
    width = len(names["coords"])
    animal = names.get("individuals", [None] * width)
    header = [
        (animal[i] and animal[i].strip(), names["bodyparts"][i].strip(), names["coords"][i].strip().lower())
        for i in range(first, width)
    ]
    values = np.full((len(rows), width - first), np.nan)
    for number, row in enumerate(rows):
        if len(row) != width:
            raise ValueError(f"row {number + 1} has {len(row)} cells, the header {width}")
        for i, cell in enumerate(row[first:]):
            try:
                values[number, i] = float(cell) if cell.strip() else np.nan
            except ValueError:
                raise ValueError(f"row {number + 1}: {cell!r} is not a number") from None
    stamps = [row[0].strip() for row in rows]
    whole = all(re.fullmatch(r"\d+(\.0)?", stamp) for stamp in stamps)
    return header, [int(float(s)) for s in stamps] if whole else list(range(len(rows))), values


def _read_h5(path: Path) -> tuple[Header, list[int], np.ndarray]:
    try:
        import pandas as pd
        import tables  # noqa: F401  pandas needs it to read HDF5 and says so only in a long traceback
    except ImportError as error:
        raise ValueError("reading .h5 needs pandas and tables: pip install 'tarpon[h5]', or export the CSV") from error
    frame = pd.read_hdf(path)
    levels = list(frame.columns.names)
    header = [
        (
            column[levels.index("individuals")] if "individuals" in levels else None,
            column[levels.index("bodyparts")],
            column[levels.index("coords")],
        )
        for column in frame.columns
    ]
    index = [int(i) for i in frame.index] if frame.index.dtype.kind == "i" else list(range(len(frame)))
    return header, index, frame.to_numpy(float)


def body_length(xyl: np.ndarray, *, likelihood: float = 0.6) -> float:
    """A trial's robust body length in the units of x, y: the largest median distance between two points.

    Args:
        xyl: (T, K, 3); points under `likelihood` are left out. The median over time shrugs off jumps, the largest pair
            is the animal's extent whatever the points are called.

    Returns:
        Pixels, or NaN when no pair is ever seen together.
    """
    xy = np.where(xyl[..., 2:] >= likelihood, xyl[..., :2], np.nan)
    first, second = np.triu_indices(xy.shape[1], 1)
    distance = np.linalg.norm(xy[:, first] - xy[:, second], axis=-1)
    enough = np.isfinite(distance).sum(0) > 0
    if not enough.any():
        return float("nan")
    return float(np.nanmedian(distance[:, enough], axis=0).max())
