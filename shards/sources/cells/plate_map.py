"""A plate map: a CSV file that tells of every well its condition and, where known, the hour at which it was infected.

Columns: well; condition (infected or uninfected, or one of WORDS); optional onset_hour, empty where not known; optional plate.
"""

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

from tarpon.shards.sources.cells.names import WellPosition

MAP_BYTES = 2**20
WORDS = {
    "infected": 1, "1": 1, "yes": 1, "true": 1, "virus": 1,
    "uninfected": 0, "0": 0, "no": 0, "false": 0, "mock": 0, "control": 0, "healthy": 0,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class WellEntry:
    """What the map tells of one well."""

    label: int  # 1 infected
    onset: float | None  # hours of the clock; None: not told


@dataclass(frozen=True, kw_only=True, eq=False)
class PlateMap:
    """Entries by plate and well; plate is empty where the file has no such column."""

    path: str
    entries: dict[tuple[str, str], WellEntry]

    def find(self, place: WellPosition) -> WellEntry | None:
        """The entry of a stack's well, None where the map has none; a map without plates speaks of every plate."""
        well = normalise_well(place.well)
        return self.entries.get((place.plate, well)) or self.entries.get(("", well))


def normalise_well(name: str) -> str:
    """`b2` for B2, b02 and B002."""
    found = re.fullmatch(r"([a-z]+)0*(\d+)", name.strip().lower())
    return found[1] + found[2] if found else name.strip().lower()


def read_plate_map(path: Path) -> PlateMap:
    """The map; ValueError, naming file and line, for what is missing, contradictory or not understood."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAP_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text; save it as CSV in UTF-8") from error
    if len(text) > MAP_BYTES:
        raise ValueError(f"{path}: more than {MAP_BYTES:,} bytes; give a table of one line a well")
    lines = text.splitlines()
    rows = csv.DictReader(lines, delimiter=";" if lines and ";" in lines[0] else ",")
    names = [(name or "").strip().lower() for name in rows.fieldnames or ()]
    if missing := [name for name in ("well", "condition") if name not in names]:
        raise ValueError(f"{path}: no column {', '.join(missing)} in its first line ({', '.join(names) or 'empty'})")
    rows.fieldnames = names
    entries: dict[tuple[str, str], WellEntry] = {}
    for row in rows:
        if not any((value or "").strip() for name, value in row.items() if name):
            continue
        place = f"{path}:{rows.line_num}"
        key = ((row.get("plate") or "").strip(), normalise_well(row["well"] or ""))
        if not key[1]:
            raise ValueError(f"{place}: no well")
        entry = WellEntry(label=_read_condition(row["condition"], place), onset=_read_onset(row.get("onset_hour"), place))
        if entries.setdefault(key, entry) != entry:
            raise ValueError(f"{place}: well {row['well'].strip()} is told twice, and differently")
    if not entries:
        raise ValueError(f"{path}: holds no well")
    return PlateMap(path=str(path), entries=entries)


def _read_condition(text: str | None, place: str) -> int:
    known = (text or "").strip().lower()
    if known not in WORDS:
        raise ValueError(f"{place}: condition={text!r} must be infected or uninfected (or {', '.join(list(WORDS)[1:])})")
    return WORDS[known]


def _read_onset(text: str | None, place: str) -> float | None:
    if not (text or "").strip():
        return None
    try:
        onset = float(text.strip().replace(",", "."))
    except ValueError:
        onset = math.nan
    if not 0 <= onset < math.inf:
        raise ValueError(f"{place}: onset_hour={text!r} must be an hour of the clock, 0 or later, or empty")
    return onset
