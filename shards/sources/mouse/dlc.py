"""DeepLabCut's layout, and that of Lightning Pose and EKS, which write the same: one row a frame.

Header rows scorer / [individuals] / bodyparts / coords (Mathis et al. 2018), as CSV or as a pandas frame in HDF5. Columns
are matched on the exact body part, never on a part of the text; coordinates other than x, y and likelihood (medians and
variances of an ensemble) are left out.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tarpon.shards.sources.mouse.pose_table import PoseTable, frame_numbers, pick_one
from tarpon.shards.sources.mouse.pose_text import split_table

HEADER = ("scorer", "individuals", "bodyparts", "coords")
COORDS = ("x", "y", "likelihood")
SINGLE = "single"  # DeepLabCut's name for body parts that no animal of a multi-animal project owns
OWN = ("DLC_tarpon", "tarpon")  # scorers of our own predictions
EKS = "ensemble-kalman_tracker"


def is_header(cells: Sequence[str]) -> bool:
    return cells[0].strip().lower() in HEADER


@dataclass(frozen=True)
class Column:
    """One column of coordinates."""

    scorer: str
    animal: str | None
    part: str
    coord: str  # x | y | likelihood


def read_csv(text: str, *, individual: str | None = None, scorer: str | None = None) -> PoseTable:
    """A CSV file's text. ValueError in one line, starting with `line N: ` where one line is to blame."""
    table = split_table(text, is_header=is_header)
    names = {row[0].strip().lower(): [cell.strip() for cell in row] for row in table.header}
    if "bodyparts" not in names or "coords" not in names:
        raise ValueError("not a DeepLabCut file: its first column must start with scorer, bodyparts, coords")
    width = len(names["coords"])
    for name, row in names.items():
        if len(row) != width:
            raise ValueError(f"header row {name} has {len(row)} cells, coords has {width}")
    coords = [cell.lower() for cell in names["coords"]]
    if "z" in coords:
        raise ValueError("is a table of points in space (x, y, z); give the one of this camera's pictures")
    numbers = [i for i, cell in enumerate(coords) if cell in COORDS]
    if not numbers or not table.body.strip():
        raise ValueError("holds no coordinates")
    scorers, animals = names.get("scorer", [""] * width), names.get("individuals", [None] * width)
    columns = [Column(scorers[i], animals[i], names["bodyparts"][i], coords[i]) for i in numbers]
    # files of labelled frames may carry folder, video and image in up to three first columns
    stamps, values, lines = table.read(texts=numbers[0], numbers=numbers)
    if not len(values):
        raise ValueError("holds no coordinates")
    rows = list(zip(*[[cell or "" for cell in column] for column in stamps], strict=True))
    index, images = frame_numbers(rows, lines)
    return choose(columns, values, index, lines=lines, images=images, individual=individual, scorer=scorer)


def read_h5(path: Path, *, individual: str | None = None, scorer: str | None = None) -> PoseTable:
    """DeepLabCut's .h5; ValueError in one line, also where the h5 extra is missing."""
    try:
        import pandas as pd
        import tables  # noqa: F401  pandas needs it to read HDF5 and says so only in a long traceback
    except ImportError as error:
        raise ValueError("reading .h5 needs pandas and tables: pip install 'tarpon[h5]', or export the CSV") from error
    try:
        frame = pd.read_hdf(path)
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise ValueError(f"no single pandas table can be read from it ({str(error).splitlines()[0]})") from error
    levels = list(frame.columns.names)
    if not {"bodyparts", "coords"} <= set(levels):
        raise ValueError(f"not a DeepLabCut file: its columns have {', '.join(map(str, levels))}, not bodyparts and coords")

    def cell(column: tuple, level: str) -> str | None:
        return str(column[levels.index(level)]) if level in levels else None

    numbers = [i for i, column in enumerate(frame.columns) if cell(column, "coords") in COORDS]
    columns = [
        Column(
            cell(frame.columns[i], "scorer") or "",
            cell(frame.columns[i], "individuals"),
            cell(frame.columns[i], "bodyparts"),
            cell(frame.columns[i], "coords"),
        )
        for i in numbers
    ]
    stamps = [tuple(map(str, stamp)) if isinstance(stamp, tuple) else (str(stamp),) for stamp in frame.index]
    index, images = frame_numbers(stamps, None)
    values = frame.iloc[:, numbers].to_numpy(float)
    return choose(columns, values, index, lines=None, images=images, individual=individual, scorer=scorer)


def choose(
    columns: Sequence[Column],
    values: np.ndarray,
    index: np.ndarray,
    *,
    lines: np.ndarray | None,
    images: bool,
    individual: str | None,
    scorer: str | None,
) -> PoseTable:
    """The points of one scorer and one animal out of all columns.

    Args:
        columns: of (R, columns) values; index, lines: (R,) frame and line of each row.
        images: rows are named by images, so frames without a row are frames that nobody labelled.

    Raises:
        ValueError: several scorers or animals and none chosen, or a column that stands twice.
    """
    scorers = list(dict.fromkeys(column.scorer for column in columns))
    scorer = pick_one(scorers, scorer if scorer in scorers or len(scorers) > 1 else None, what="scorer", option="--scorer")
    mine = {i: column for i, column in enumerate(columns) if column.scorer == scorer}
    animals = list(dict.fromkeys(column.animal for column in mine.values()))
    alone = [animal for animal in animals if animal != SINGLE] or animals
    animal = None if alone == [None] else pick_one(alone, individual, what="animal", option="--individual")
    place: dict[tuple[str, str], int] = {}
    for owner in (animal, SINGLE):
        held = {i: column for i, column in mine.items() if column.animal == owner}
        counts = Counter((column.part, column.coord) for column in held.values())
        twice = [f"{part} {coord}" for (part, coord), count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"columns stand twice: {', '.join(twice[:6])}; rename or delete one of each")
        for i, column in held.items():
            place.setdefault((column.part, column.coord), i)
        if owner == SINGLE:
            break
    parts = tuple(part for part in dict.fromkeys(part for part, _ in place) if {(part, "x"), (part, "y")} <= set(place))
    out = np.ones((len(values), len(parts), 3))
    for k, part in enumerate(parts):
        for c, coord in enumerate(COORDS):
            if (part, coord) in place:
                out[:, k, c] = values[:, place[part, coord]]
    remarks = ()
    if scorer == EKS and out[..., 2].size and not out[..., 2].any():
        out[..., 2], remarks = 1, ("its likelihood is 0 everywhere, which EKS writes for none: taken as 1",)
    return PoseTable(
        parts=parts,
        values=out,
        index=index,
        lines=lines,
        scorer=scorer,
        software=_software(scorer),
        sparse=images,
        remarks=remarks,
    )


def _software(scorer: str) -> str:
    if scorer in OWN:
        return "Tarpon"
    if scorer == EKS:
        return "EKS"
    return "Lightning Pose" if scorer in ("heatmap_tracker", "heatmap_mhcrnn_tracker", "regression_tracker") else "DeepLabCut"
