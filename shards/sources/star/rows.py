"""Reads the metadata table of a re-identification data set: one line an image, paths relative to the data set's folder."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from tarpon.shards.bounded_text import check_header
from tarpon.shards.quarantine import Fault
from tarpon.shards.source_files import bring
from tarpon.shards.sources.images import HIDDEN

Row = dict[str, str]
BLANK = ("nan", "none", "null", "nat")  # spellings of an empty cell


def read_rows(path: Path, *, root: Path, needed: Sequence[str]) -> tuple[list[Row], set[str], list[Fault]]:
    """The usable lines of a metadata file.

    Args:
        path: CSV in UTF-8 with `path`, or `folder` and `filename`, beside other columns.
        root: what the paths are relative to; the files must be below it.
        needed: columns that must be there and may not be blank.

    Returns:
        rows: the columns as stripped text, "" where blank, with `path` (normalised, / between names) and `line` (of the file,
        the header is 1); the names of the columns; and a fault for every other line.

    Raises:
        ValueError: in one line: no such file, no CSV in UTF-8, a column is missing, or a path is absolute.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; it is a CSV with the columns {', '.join(needed)} and path")
    bring(path)
    check_header(path)
    rows, faults = [], []
    with open(path, newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        try:
            columns = {name.strip() for name in table.fieldnames or ()}
            _check_columns(path, columns, needed)
            for cells in table:
                row, wrong = _parse_row(cells, needed=needed)
                if wrong:
                    faults.append(Fault(file=path.name, row=table.line_num, reason=wrong))
                    continue
                if _is_absolute(row["path"]):
                    raise ValueError(_advise_relative(path, table.line_num, row["path"], root))
                rows.append(row | {"line": str(table.line_num)})
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: not a CSV in UTF-8 ({error})") from error
    return rows, columns, faults


def match_files(rows: Sequence[Row], *, root: Path) -> tuple[list[dict], list[Fault]]:
    """The rows with one file each, with its `bytes` and `mtime_ns`, in order of path; a fault for every other row."""
    found, faults = [], []
    count = Counter(row["path"] for row in rows)
    for row in sorted(rows, key=lambda row: (row["path"], int(row["line"]))):
        place, reason = root / row["path"], ""
        if count[row["path"]] > 1:
            reason = "more than one row for this image"
        elif place.name.startswith("."):
            reason = HIDDEN
        elif not place.is_file():
            reason = "a row without an image"
        if reason:
            faults.append(Fault(file=row["path"], row=int(row["line"]), reason=reason))
            continue
        state = place.stat()
        found.append(row | {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns})
    return found, faults


def _check_columns(path: Path, columns: set[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in columns]
    if "path" not in columns and not {"folder", "filename"} <= columns:
        missing.append("path (or folder and filename)")
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}; it has {', '.join(sorted(columns)) or 'nothing'}")


def _parse_row(cells: dict, *, needed: Sequence[str]) -> tuple[Row, str]:
    """(a line's cells as text, ""), or ({}, why it cannot be used)."""
    if None in cells or None in cells.values():
        return {}, "another number of cells than the header has"
    row = {name.strip(): "" if text.strip().lower() in BLANK else text.strip() for name, text in cells.items()}
    if "path" not in row or (not row["path"] and row.get("filename")):
        row["path"] = f"{row['folder']}/{row['filename']}" if row["folder"] and row["filename"] else ""
    if blank := [name for name in (*needed, "path") if not row[name]]:
        return {}, f"{', '.join(blank)} is blank"
    place = PurePosixPath(row["path"] if "/" in row["path"] else row["path"].replace("\\", "/"))  # written on Windows
    if ".." in place.parts:
        return {}, "the path leaves the data set's folder (..)"
    return row | {"path": str(place)}, ""


def _is_absolute(path: str) -> bool:
    return PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()


def _advise_relative(path: Path, line: int, given: str, root: Path) -> str:
    """The message for an absolute path, with the prefix to cut off."""
    name = f"/{root.resolve().name}/"
    front = given[: given.index(name) + len(name)] if name in given else given[: given.rindex("/") + 1]
    return (
        f"{path}:{line}: path {given!r} is absolute; paths are relative to --root {root}, so that a data set can move: cut off "
        f"{front!r}, e.g. sed 's#{front}##' {path.name} > relative.csv"
    )
