"""Folders of infected and uninfected time-lapse stacks -> one sample a page.

A stack is one position of one well, a page one time point; the folder is the class. Pages are stored losslessly, all of them:
which hours are trained on, and how grey levels are scaled, is chosen in training. What does not fit becomes a Fault.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarpon.shards.quarantine import Fault, attempt
from tarpon.shards.schema import Component, Sample, Schema
from tarpon.shards.source import Scan
from tarpon.shards.sources.cells.names import (
    NAME,
    WellPosition,
    compile_pattern,
    find_copies,
    find_duplicate_positions,
    hash_file,
    read_name,
)
from tarpon.shards.sources.cells.pages import LevelHistogram, StackShape, encode_tiff, read_pages, read_shape, resize_page
from tarpon.shards.sources.images import MAX_PIXELS, check_limit
from tarpon.shards.split import assign_folds

CLASSES = ("uninfected", "infected")  # in the order of their labels
SAME_INTERVAL = 0.01  # share of the interval by which a file's own and the option's may differ
GROUPS = ("stack", "well", "plate")  # a regular expression is allowed as well
SCHEMA = Schema(
    kind="cells",
    components=(
        Component(
            name="tif",
            holds="the page, uncompressed TIFF of 8 or 16 bits, grey or RGB; as in the source, or resize_page to side x side",
        ),
        Component(name="json", holds="the sample's manifest row, readable without the manifest"),
    ),
    columns=(
        ("stack", pa.string()),  # plate, well and position
        ("page", pa.int32()),  # in the stack, from 0
        ("pages", pa.int32()),  # in the source's stack
        ("hours", pa.float32()),  # since the experiment's start
        ("label", pa.int8()),  # 1 infected, 0 not
        ("well", pa.string()),  # with its plate
        ("position", pa.int32()),  # in the well
        ("plate", pa.string()),  # or date; empty where names hold none
        ("width", pa.int32()),  # pixels
        ("height", pa.int32()),
        ("bits", pa.int8()),  # 8 or 16; DALI's UINT16 of an 8-bit page is 257 times its levels
        ("channels", pa.int8()),  # 1 or 3
        ("low", pa.int32()),  # 0.1 and 99.9 percentile of the whole stack, in its own levels
        ("high", pa.int32()),
        ("first_low", pa.int32()),  # the same of the stack's first page alone, which knows nothing of what comes later
        ("first_high", pa.int32()),
        ("frame_min", pa.int32()),  # of this page
        ("frame_max", pa.int32()),
        ("fold", pa.int8()),  # in which this page's group is tested; -1: packed without folds
    ),
)
JSON_COLUMNS = tuple(name for name, _ in SCHEMA.columns if name != "fold")


@dataclass(frozen=True, kw_only=True)
class CellsSource:
    """What to read from the two folders, and how."""

    frames_per_hour: float = 2.0
    name_regex: str = NAME
    group: str = (
        "stack"  # what the split keeps together: stack, well, plate, or a regular expression whose first group names it
    )
    folds: int = 0  # rotating test folds; 0: none
    seed: int = 0  # of the folds
    side: int = 0  # pixels that every page is resize_page to, once, here; 0: pages stay pixel for pixel as they are
    max_pixels: int = MAX_PIXELS  # a stack whose header tells of pages of more is not read

    def __post_init__(self) -> None:
        if not 0 < self.frames_per_hour < float("inf"):
            raise ValueError(f"frames_per_hour={self.frames_per_hour} must be above 0; a page every 30 min is 2")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds={self.folds} must be 0 (none) or 2 and more")
        if self.side and self.side < 32:
            raise ValueError(f"side={self.side} must be 0 (pages stay as they are) or 32 and more pixels")
        check_limit(self.max_pixels)
        compile_pattern(self.name_regex)
        if self.group not in GROUPS:
            try:
                groups = re.compile(self.group).groups
            except re.error as error:
                raise ValueError(f"group={self.group!r} is no regular expression ({error})") from error
            if not groups:
                raise ValueError(
                    f"group={self.group!r} must be {', '.join(GROUPS)} or a regular expression with a group, as in '_s(\\d+)_'"
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class StackUnit:
    """One stack to pack."""

    path: str
    source: str  # class and file name
    label: int
    place: WellPosition
    shape: StackShape
    group: str
    fold: int
    frames_per_hour: float
    side: int
    bytes: int
    mtime_ns: int

    def name(self) -> str:
        return self.source

    def fingerprint(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if name != "path"}, sort_keys=True)

    def size(self) -> int:
        return self.shape.pages


def scan(infected: Path, uninfected: Path, source: CellsSource) -> Scan:
    """The stacks of both folders, from names and headers, mixed by a fixed permutation so that every shard holds both classes.

    Raises:
        ValueError: a folder is missing, empty or given twice; a class has fewer groups than there are folds.
    """
    if infected.resolve() == uninfected.resolve():
        raise ValueError(f"{infected}: infected_dir and uninfected_dir are one folder; the folder is the class")
    found, faults = [], []
    for label, folder in ((1, infected), (0, uninfected)):
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
        units, wrong = _scan_folder(folder, label=label, source=source)
        if not units and not wrong:
            raise ValueError(f"{folder}: holds no files; the {CLASSES[label]} stacks must lie flat in it")
        found += units
        faults += wrong
    names, labels = [unit.source for unit in found], [unit.label for unit in found]
    reasons = find_duplicate_positions(names, [unit.place for unit in found], labels)
    reasons |= find_copies([Path(unit.path) for unit in found], names, labels)
    faults += [Fault(file=names[i], reason=reason) for i, reason in reasons.items()]
    kept = [unit for i, unit in enumerate(found) if i not in reasons]
    if source.folds:
        kept = _assign_folds(kept, folds=source.folds, seed=source.seed)
    return Scan([kept[i] for i in np.random.default_rng(0).permutation(len(kept))], faults)


def _scan_folder(folder: Path, *, label: int, source: CellsSource) -> tuple[list[StackUnit], list[Fault]]:
    """One class's stacks in order of name; hidden files are passed over."""
    units, faults = [], []
    pattern = compile_pattern(source.name_regex)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        name = f"{CLASSES[label]}/{path.name}"
        unit, fault = attempt(name, _make_unit, path, name, label, pattern, source)
        if fault:
            faults.append(fault)
        else:
            units.append(unit)
    return units, faults


def _make_unit(path: Path, name: str, label: int, pattern: re.Pattern, source: CellsSource) -> StackUnit:
    if not path.is_file() or path.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError("not a .tif or .tiff file")
    place, state = read_name(path.stem, pattern), path.stat()
    shape = read_shape(path, max_pixels=source.max_pixels)
    _check_interval(shape.interval, source.frames_per_hour)
    return StackUnit(
        path=str(path), source=name, label=label, place=place, shape=shape,
        group=_find_group(path.name, place, source.group), fold=-1, frames_per_hour=source.frames_per_hour, side=source.side,
        bytes=state.st_size, mtime_ns=state.st_mtime_ns,
    )  # fmt: skip


def _check_interval(seconds: float, frames_per_hour: float) -> None:
    """ValueError where a file tells another time from page to page than the option, by more than 1%."""
    if seconds and abs(seconds * frames_per_hour / 3600 - 1) > SAME_INTERVAL:
        raise ValueError(
            f"the file tells {seconds / 60:g} min from page to page, frames_per_hour={frames_per_hour:g} tells "
            f"{60 / frames_per_hour:g}; set frames_per_hour to {3600 / seconds:g}, or mend the file's metadata"
        )


def _find_group(name: str, place: WellPosition, group: str) -> str:
    known = {"stack": place.stack, "well": place.well_name, "plate": place.plate}
    if group in known:
        found_group = known[group]
    else:
        found = re.search(group, name)
        found_group = found[1] if found else None
    if not found_group:
        raise ValueError(f"the name does not tell the group ({group})")
    return found_group


def _assign_folds(units: Sequence[StackUnit], *, folds: int, seed: int) -> list[StackUnit]:
    counts: dict[str, np.ndarray] = {}
    for unit in units:
        counts[unit.group] = counts.get(unit.group, 0) + np.eye(len(CLASSES))[unit.label] * unit.size()
    fold = assign_folds(counts, folds=folds, seed=seed)
    return [StackUnit(**vars(unit) | {"fold": fold[unit.group]}) for unit in units]


def make(unit: StackUnit) -> Iterator[Sample | Fault]:
    """Every page of a stack as a sample, or what keeps the stack, or a page of one single level, from being used."""
    levels, pages, first = LevelHistogram(unit.shape.bits), [], (0, 0)
    try:
        for page in read_pages(Path(unit.path)):
            levels.add(page)
            first = first if pages else levels.find_range()
            stored = resize_page(page, side=unit.side)
            pages.append((encode_tiff(stored), int(stored.min()), int(stored.max())))
    except ValueError as error:
        yield Fault(file=unit.source, reason=str(error))
        return
    (low, high), source_sha256 = levels.find_range(), hash_file(Path(unit.path))
    for number, (content, least, most) in enumerate(pages):
        if least == most:
            yield Fault(file=unit.source, row=number, reason="every pixel of the page has one value")
            continue
        row = {
            "group": unit.group,
            "source": unit.source,
            "source_sha256": source_sha256,
            "stack": unit.place.stack,
            "page": number,
            "pages": unit.shape.pages,
            "hours": (unit.place.first + number) / unit.frames_per_hour,
            "label": unit.label,
            "well": unit.place.well_name,
            "position": unit.place.position,
            "plate": unit.place.plate,
            "width": unit.side or unit.shape.width,
            "height": unit.side or unit.shape.height,
            "bits": unit.shape.bits,
            "channels": unit.shape.channels,
            "low": low,
            "high": high,
            "first_low": first[0],
            "first_high": first[1],
            "frame_min": least,
            "frame_max": most,
        }
        found_group = json.dumps(row).encode()
        yield Sample(
            key=f"{unit.place.stack}_{number:04d}", files={"tif": content, "json": found_group}, row=row | {"fold": unit.fold}
        )


def encode_labels(rows: pa.Table) -> np.ndarray:
    """(rows, 2) of one page each, for the stratified split."""
    return np.eye(len(CLASSES))[rows["label"].to_numpy()]


def select_hours(hours: np.ndarray, window: tuple[float, float], *, frames_per_hour: float, stride: int = 1) -> np.ndarray:
    """Which pages lie in a window of hours, both ends included, every `stride`-th from its start.

    As published, but that a window beyond a stack's end holds none of its pages (published: its last one).

    Args:
        hours: (N,) of pages of any stacks.

    Returns:
        (N,) bool.
    """
    points = np.rint(np.asarray(hours, float) * frames_per_hour).astype(int)
    first, last = (int(np.floor(hour * frames_per_hour + 1e-6)) for hour in window)  # 0.1 h x 30 is 3, not 2.99
    first = max(first, 0)
    return (points >= first) & (points <= last) & ((points - first) % stride == 0)
