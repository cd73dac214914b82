"""Files of one class's folder as stacks to pack: one file a stack, several stacks in a file, or one file a time point."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tarpon.shards.quarantine import Fault, attempt
from tarpon.shards.source_files import bring
from tarpon.shards.sources.cells.names import WellPosition, hash_file, read_name, read_series_name, strip_suffix
from tarpon.shards.sources.cells.pages import (
    DEFAULT,
    PageChoice,
    Position,
    StackShape,
    read_pages,
    read_positions,
)
from tarpon.shards.sources.cells.tiff import find_set


@dataclass(frozen=True, kw_only=True, eq=False)
class StackUnit:
    """One stack to pack."""

    path: str  # of its only or first file
    source: str  # class and file name, and the position where a file has several
    label: int
    place: WellPosition
    shape: StackShape
    group: str = ""
    fold: int = -1
    frames_per_hour: float = 2.0
    side: int = 0
    bytes: int
    mtime_ns: int
    choice: PageChoice = DEFAULT
    series: int = 0  # which stack of the file
    files: tuple[str, ...] = ()  # further files that hold its planes
    parts: tuple[tuple[int, str], ...] = ()  # (page, file) of a stack of one file a time point
    beside: tuple[str, ...] = ()  # of a URL: files of its set, without which it does not open
    onset: float | None = None  # hour of infection of its well, where a plate map tells

    def name(self) -> str:
        return self.source

    def fingerprint(self) -> str:
        own = {name: value for name, value in asdict(self).items() if name not in ("path", "files", "parts", "beside")}
        if not self.shape.planes:  # said of several channels only, so that packing begun by an earlier version goes on
            own["shape"] = {name: value for name, value in own["shape"].items() if name != "planes"}
        parts = [(page, Path(path).name) for page, path in self.parts]
        return json.dumps(own | {"parts": parts}, sort_keys=True)

    def size(self) -> int:
        return self.shape.pages

    def read(self, tell: Callable[[str], None]) -> Iterator[tuple[int, np.ndarray]]:
        """Every page with its number; `tell` and errors as of `read_pages`."""
        if not self.parts:
            yield from enumerate(read_pages(Path(self.path), choice=self.choice, position=self.series, tell=tell))
            return
        rules: set[bool] = set()  # of scaling: floating point pages of one stack may not differ in it
        for number, path in self.parts:
            lines: list[str] = []
            pages = list(read_pages(Path(path), choice=self.choice, tell=lines.append))
            rules |= {"multiplied" in line for line in lines if line.startswith("pixels are")}
            if len(rules) > 1:
                raise ValueError(
                    f"{Path(path).name} holds numbers of another range than the files before it; give --values LOW,HIGH"
                )
            shape = self.shape.page
            if len(pages) != 1 or pages[0].shape != shape or pages[0].dtype.itemsize * 8 != self.shape.bits:
                raise ValueError(
                    f"{Path(path).name} is {len(pages)} x {pages[0].shape} of {pages[0].dtype}, the first page {shape}"
                )
            yield number, pages[0]

    def reads(self) -> list[Path]:
        """The files, or the folder, that are opened to read it."""
        return list(dict.fromkeys(map(Path, (*self._holding(), *self.beside))))

    def _holding(self) -> list[str]:
        """Those that hold its planes."""
        return [path for _, path in self.parts] or [self.path, *self.files]

    def hash_source(self) -> str:
        """SHA-256 of its bytes on disk, and of which stack of the file it is."""
        digests = [hash_file(Path(path)) for path in self._holding()]
        if len(digests) == 1 and not self.series:
            return digests[0]
        return hashlib.sha256(" ".join([*digests, str(self.series)]).encode()).hexdigest()


def list_units(
    folder: Path, *, name_of: Callable[[str], str], pattern: re.Pattern, choice: PageChoice, max_pixels: int
) -> tuple[list[StackUnit], list[Fault]]:
    """The stacks of the files of a folder in order of name, not yet of a class, and a fault for every other file.

    Hidden files are passed over.

    Args:
        name_of: a file's name -> its name in messages.
    """
    units, faults = [], []
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("."):
            found, fault = attempt(name_of(path.name), _read_file, path, name_of(path.name), pattern, choice, max_pixels)
            if found == []:
                fault = Fault(file=name_of(path.name), reason="later pages of a stack that begins in another file", packed=True)
            faults += [fault] if fault else [one for one in found or () if isinstance(one, Fault)]
            units += [one for one in found or () if isinstance(one, StackUnit)]
    return units, faults


def _read_file(path: Path, name: str, pattern: re.Pattern, choice: PageChoice, max_pixels: int) -> list[StackUnit | Fault]:
    """The stacks of a file; where some can be packed, a fault in place of every other.

    Raises:
        ValueError: none can.
    """
    beside = find_set(path) if bring(path) else []
    bring(path, *beside)
    found = read_positions(path, choice=choice, max_pixels=max_pixels)
    size, changed = _measure(path)
    further = [_measure(Path(file)) for one in found for file in one.files]
    size, changed = size + sum(more for more, _ in further), max([changed, *(when for _, when in further)])
    made: list[StackUnit | Fault] = []
    for number, one in enumerate(found):
        source = f"{name} position {number + 1}" if len(found) > 1 else name
        try:
            place = _find_place(path, one, number if len(found) > 1 else None, pattern)
        except ValueError as error:
            made.append(Fault(file=source, reason=str(error)))
            continue
        made.append(
            StackUnit(
                path=str(path),
                source=source,
                label=0,
                place=place,
                shape=one.shape,
                bytes=size,
                mtime_ns=changed,
                choice=choice,
                series=number,
                files=one.files,
                beside=tuple(map(str, beside)),
            )
        )
    if made and all(isinstance(one, Fault) for one in made):
        raise ValueError(made[0].reason)
    return made


def _find_place(path: Path, one: Position, number: int | None, pattern: re.Pattern) -> WellPosition:
    """number: of one of several positions in the file."""
    if one.refusal:
        raise ValueError(one.refusal)
    stem = strip_suffix(path.name)
    return read_name(stem, pattern) if number is None else read_series_name(stem, one.name, number + 1, pattern)


def _measure(path: Path) -> tuple[int, int]:
    """Bytes and time of the last change in nanoseconds, of a file or of all files of a folder."""
    states = [file.stat() for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(state.st_size for state in states), max((state.st_mtime_ns for state in states), default=0)


def join_time_points(units: Sequence[StackUnit]) -> tuple[list[StackUnit], list[Fault]]:
    """Files of one page whose names tell a time point, put together by place and class; all other stacks as they are.

    Time points are counted from 1 where none is 0 and one is 1.
    """
    loose: dict[tuple[int, str], list[StackUnit]] = defaultdict(list)
    for unit in units:
        if unit.place.time is not None and unit.shape.pages == 1:
            loose[unit.label, unit.place.stack].append(unit)
    base = int(min((unit.place.time for own in loose.values() for unit in own), default=0) == 1)
    joined, faults = [unit for unit in units if unit.place.time is None or unit.shape.pages > 1], []
    for own in loose.values():
        own = sorted(own, key=lambda unit: (unit.place.time, unit.source))
        shapes = {(*unit.shape.page, unit.shape.bits, unit.shape.planes) for unit in own}
        times = [unit.place.time for unit in own]
        if len(shapes) > 1 or len(set(times)) < len(times):
            why = "pages of different shape or depth" if len(shapes) > 1 else "two files of one time point"
            faults.append(Fault(file=own[0].source, reason=f"{why} among the {len(own)} files of {own[0].place.stack}"))
            continue
        first, last = times[0] - base, times[-1] - base
        joined.append(
            replace(
                own[0],
                place=replace(own[0].place, first=first, last=last, time=None),
                shape=replace(own[0].shape, pages=last - first + 1),
                bytes=sum(unit.bytes for unit in own),
                mtime_ns=max(unit.mtime_ns for unit in own),
                parts=tuple((unit.place.time - times[0], unit.path) for unit in own),
                beside=tuple(dict.fromkeys(path for unit in own for path in unit.beside)),
            )
        )
    return sorted(joined, key=lambda unit: unit.source), faults
