"""A CSV that says which video, track and labels belong together, where names do not."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tarpon.shards.quarantine import Fault
from tarpon.shards.sources.mouse.labels_text import column_names, read_cells
from tarpon.shards.sources.mouse.units import TrialFile

COLUMNS = ("video", "track", "labels", "trial", "first_frame", "group")


@dataclass(frozen=True, kw_only=True)
class TableEntry:
    """What the table says of one video."""

    video: Path
    track: Path | None
    group: str  # empty: as the options say
    trials: tuple[TrialFile, ...]


def read_table(path: Path, *, videos: Path, annotations: Path | None) -> tuple[list[TableEntry], list[Fault]]:
    """The videos of a table in its order, and its lines that cannot be used.

    Args:
        path: CSV of COLUMNS in any order; only video is compulsory. Several rows of one video are its trials; labels without
            a trial are of the whole video.
        videos: folder of videos and tracks that are named without one; annotations: of labels. The table's own folder is
            looked in last.

    Raises:
        ValueError: no such file, or columns that are none of these.
    """
    rows = read_cells(path)
    names = column_names(rows[0]) if rows else {}
    unknown = [name for name in names if name and name not in COLUMNS]
    if unknown or "video" not in names:
        what = f"column {unknown[0]!r} is none" if unknown else "no column video"
        raise ValueError(f"{path}: {what}; a table has the columns {', '.join(COLUMNS)}, all but video may be left out")
    folders = {"video": (videos, path.parent), "track": (videos, path.parent)}
    folders["labels"] = ((annotations,) if annotations else ()) + (path.parent, videos)
    entries: dict[Path, TableEntry] = {}
    faults = []
    for number, row in enumerate(rows[1:]):
        cells = {name: row[place] if place < len(row) else "" for name, place in names.items()}
        try:
            _add(entries, cells, folders)
        except ValueError as error:
            faults.append(Fault(file=cells["video"] or path.name, reason=f"{path.name}: {error}", row=number))
    return list(entries.values()), faults


def _add(entries: dict[Path, TableEntry], cells: dict[str, str], folders: dict[str, Sequence[Path]]) -> None:
    """One row into the entries. ValueError says what is wrong with it."""
    if not cells["video"]:
        raise ValueError("no video in this row")
    found = {name: _find(cells[name], folders[name]) for name in ("video", "track", "labels") if cells.get(name)}
    trial, first = (_whole_number(cells.get(name, ""), name, least) for name, least in (("trial", 1), ("first_frame", 0)))
    if "labels" not in found and (trial, first) != (None, None):
        raise ValueError("a trial or first_frame without labels")
    trials = (TrialFile(path=str(found["labels"]), trial=trial, first=first),) if "labels" in found else ()
    new = TableEntry(video=found["video"], track=found.get("track"), group=cells.get("group", ""), trials=trials)
    old = entries.setdefault(new.video, new)
    if old is new:
        return
    if any(a and b and a != b for a, b in ((old.track, new.track), (old.group, new.group))):
        raise ValueError("another track or group than in an earlier row of the same video")
    if not old.trials or not new.trials:
        raise ValueError("one row of the video has labels and another one none")
    if None in (old.trials[0].trial, trial) or trial in {entry.trial for entry in old.trials}:
        raise ValueError("labels of this trial, or of the whole video, are in an earlier row")
    entries[new.video] = TableEntry(
        video=old.video, track=old.track or new.track, group=old.group or new.group, trials=old.trials + trials
    )


def _find(name: str, folders: Sequence[Path]) -> Path:
    places = [Path(name)] if Path(name).is_absolute() else [folder / name for folder in folders]
    for place in places:
        if place.is_file():
            return place
    raise ValueError(f"{name} is not in {' or '.join(dict.fromkeys(str(place.parent) for place in places))}")


def _whole_number(text: str, name: str, least: int) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"\d+", text) or int(text) < least:
        raise ValueError(f"{name} {text!r} is no whole number from {least}")
    return int(text)
