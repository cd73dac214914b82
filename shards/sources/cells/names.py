"""Stack file names: plate, well, position and time points; and stacks that duplicate another."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from tarpon.shards.schema import sanitise_key
from tarpon.shards.source_files import brought

NAME = (
    r"^(?P<plate>\d{8})?.*?_(?P<well>[A-Za-z]\d{1,3})_p(?P<position>\d+)"
    r"(?:_t(?P<t0>\d+)-(?P<t1>\d+)|_t(?P<time>\d+))?(?=_|$)"
)
WELL = re.compile(r"(?:^|_)(?P<well>[A-Pa-p]\d{1,2})(?=_|$)")  # of a plate of up to 384 wells; for files of several positions
SERIES_WELL = re.compile(r"(?:^|[-_ ])(?P<well>[A-O]\d{1,2})(?=$|[-_ ])")  # in a position's own name, as P1-D6; P1 is no row P
PLATE = re.compile(r"^\d{8}")
PROBE = 65536  # bytes in the middle of a file that differ between most stacks of one size; headers are often equal


@dataclass(frozen=True, kw_only=True)
class WellPosition:
    """Plate, well and position of a stack, with its time points."""

    plate: str  # or date; empty where the name has none
    well: str  # lower case
    position: int  # in the well; counted anew in every well
    first: int = 0  # time point of the first page
    last: int | None = None  # time point of the last page, as the name says
    time: int | None = None  # time point of a file that is one page of its stack

    @property
    def stack(self) -> str:
        """A short unique name of plate, well and position."""
        return sanitise_key("_".join([*([self.plate] if self.plate else []), self.well, f"p{self.position}"]))

    @property
    def well_name(self) -> str:
        """The well's name with its plate: wells of two plates are different wells."""
        return f"{self.plate}_{self.well}" if self.plate else self.well


def compile_pattern(text: str) -> re.Pattern:
    """A compiled file name pattern; ValueError where it is no regular expression or lacks a group."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"name_regex={text!r} is no regular expression ({error})") from error
    if missing := {"well", "position"} - set(pattern.groupindex):
        raise ValueError(
            f"name_regex={text!r} has no group {', '.join(sorted(missing))}; name them, as in "
            f"_(?P<well>[a-z]\\d+)_p(?P<position>\\d+)_, and perhaps plate, t0, t1"
        )
    return pattern


def read_name(stem: str, pattern: re.Pattern) -> WellPosition:
    """The position that a file's name gives; ValueError where the name does not match the pattern."""
    found = pattern.search(stem)
    if not found or not found["well"] or not (found["position"] or "").isdigit():
        raise ValueError(
            "the name does not tell well and position, as _b2_p12_ does; give data.name_regex in the configuration"
        )
    optional = {name: found.groupdict().get(name) for name in ("plate", "t0", "t1", "time")}
    return WellPosition(
        plate=optional["plate"] or "",
        well=found["well"].lower(),
        position=int(found["position"]),
        first=int(optional["t0"] or 0),
        last=int(optional["t1"]) if optional["t1"] else None,
        time=int(optional["time"]) if optional["time"] else None,
    )


def read_series_name(stem: str, series: str, number: int, pattern: re.Pattern) -> WellPosition:
    """The place of one of several positions in a file: by its own name, else by the file's well and its number from 1.

    Where the file's does not tell the well, the position's may tell it alone, as Zeiss's P1-D6.
    """
    own = pattern.search(series)
    if own and own["well"] and (own["position"] or "").isdigit():
        return read_name(series, pattern)
    told = list(SERIES_WELL.finditer(series))
    well, plate = WELL.search(stem) or (told[-1] if told else None), PLATE.search(stem)
    if not well:
        raise ValueError(
            f"holds several positions, and neither their names ({series or 'none'}) nor the file's tell the well, as _b2_ does"
        )
    return WellPosition(plate=plate[0] if plate else "", well=well["well"].lower(), position=number)


def strip_suffix(name: str) -> str:
    """A file's name without its extension, which may be of two parts, as in .ome.tif."""
    stem = PurePath(name).stem
    return stem[: -len(".ome")] if stem.lower().endswith(".ome") else stem


def find_duplicate_positions(names: Sequence[str], places: Sequence[WellPosition], labels: Sequence[int]) -> dict[int, str]:
    """Index -> reason of stacks at a position that another stack has: all where the classes differ, else all but the first."""
    at: dict[str, list[int]] = defaultdict(list)
    for i, place in enumerate(places):
        at[place.stack].append(i)
    return _explain_duplicates(
        at.values(), names, labels, "well and position are also those of {}; a plate in the names would tell them apart"
    )


def find_copies(paths: Sequence[Path], names: Sequence[str], labels: Sequence[int]) -> dict[int, str]:
    """Index -> reason of stacks with the same bytes as another. Only files of equal size are read."""

    def middle(path: Path) -> bytes:
        with open(path, "rb") as file:
            file.seek(path.stat().st_size // 2)
            return file.read(PROBE)

    def whole(path: Path) -> bytes:
        return hash_file(path).encode()

    alike = [list(range(len(paths)))]
    for tell, have in ((lambda path: path.stat().st_size, iter), (middle, brought), (whole, brought)):
        sets: dict[tuple, list[int]] = defaultdict(list)
        pairs = [(number, i) for number, members in enumerate(alike) for i in members]
        for (number, i), path in zip(pairs, have([paths[i] for _, i in pairs]), strict=True):
            sets[number, tell(path)].append(i)
        alike = [members for members in sets.values() if len(members) > 1]
    return _explain_duplicates(alike, names, labels, "the same file as {}")


def hash_file(path: Path) -> str:
    """SHA-256 of a file or folder, read in blocks: stacks may be larger than memory."""
    if path.is_dir():  # of an OME-Zarr folder: every file in it, by name
        inside = [(str(file.relative_to(path)), hash_file(file)) for file in sorted(path.rglob("*")) if file.is_file()]
        return hashlib.sha256(repr(inside).encode()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _explain_duplicates(sets, names: Sequence[str], labels: Sequence[int], text: str) -> dict[int, str]:
    found = {}
    for members in sets:
        if len({labels[i] for i in members}) > 1:
            found |= {i: text.format(names[next(j for j in members if labels[j] != labels[i])]) for i in members}
        else:
            found |= {i: text.format(names[members[0]]) for i in members[1:]}
    return found
