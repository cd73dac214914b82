"""Folders of infected and uninfected time-lapse stacks -> one sample a page.

A stack is one position of one well, a page one time point; the folder is the class. Pages are stored losslessly, all of them:
which hours are trained on, and how grey levels are scaled, is chosen in training. What does not fit becomes a Fault.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarpon.shards.page_planes import FURTHER, LEVELS, split_planes
from tarpon.shards.quarantine import Fault, attempt
from tarpon.shards.schema import Sample
from tarpon.shards.source import Scan
from tarpon.shards.sources.cells.levels import StackLevels
from tarpon.shards.sources.cells.names import NAME, WellPosition, compile_pattern, find_copies, find_duplicate_positions
from tarpon.shards.sources.cells.pages import PageChoice, encode_tiff, resize_page
from tarpon.shards.sources.cells.plate_map import PlateMap
from tarpon.shards.sources.cells.schema import CLASSES, SCHEMA
from tarpon.shards.sources.cells.timing import check_rate, find_rate
from tarpon.shards.sources.cells.units import StackUnit, join_time_points, list_units
from tarpon.shards.sources.copies import hash_appearance, hash_pixels
from tarpon.shards.sources.images import MAX_PIXELS, check_limit
from tarpon.shards.split import assign_folds

JSON_COLUMNS = tuple(name for name, _ in SCHEMA.columns if name != "fold")
GROUPS = ("stack", "well", "plate")  # a regular expression is allowed as well


@dataclass(frozen=True, kw_only=True)
class CellsSource:
    """What to read from the two folders, and how."""

    frames_per_hour: float | None = None  # None: as the files tell, 2 where they do not
    name_regex: str = NAME
    group: str = (
        "stack"  # what the split keeps together: stack, well, plate, or a regular expression whose first group names it
    )
    folds: int = 0  # rotating test folds; 0: none
    seed: int = 0  # of the folds
    side: int = 0  # pixels that every page is resized to, once, here; 0: pages stay pixel for pixel as they are
    channel: str = ""  # name or number from 1 of the one to pack, or several by comma; empty: stacks have one
    project: str = ""  # max, mean or focus of several depths; empty: stacks have one
    values: tuple[float, float] | None = None  # pixel values that become 0 and 65535 where pixels are signed or floating point
    max_pixels: int = MAX_PIXELS  # a stack whose header tells of pages of more is not read

    def __post_init__(self) -> None:
        self.choose_pages()
        if self.frames_per_hour is not None and not 0 < self.frames_per_hour < float("inf"):
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

    def choose_pages(self) -> PageChoice:
        """Which planes become pages; ValueError where that makes no sense."""
        return PageChoice(channel=self.channel, project=self.project, values=self.values)


def scan(first: Path, second: Path | None, source: CellsSource, *, plate_map: PlateMap | None = None) -> Scan:
    """The stacks of both folders, from names and headers, mixed by a fixed permutation so that every shard holds both classes.

    Args:
        first: the folder of infected stacks; without `second` that of all stacks, whose class the plate map tells.
        second: the folder of uninfected stacks.
        plate_map: class and hour of infection by well; beside two folders it must agree with them.

    Raises:
        ValueError: a folder is missing, empty or given twice; a class has fewer groups than there are folds; files tell of
            different times from page to page and no option says which holds.
    """
    if second is not None and first.resolve() == second.resolve():
        raise ValueError(f"{first}: infected_dir and uninfected_dir are one folder; the folder is the class")
    if second is None and plate_map is None:
        raise ValueError(f"{first}: one folder of stacks needs a plate map that tells the class of every well")
    found, faults = [], []
    for label, folder in ((1, first), (0, second)) if second is not None else ((None, first),):
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
        units, wrong = _scan_folder(folder, label=label, source=source, plate_map=plate_map)
        if not units and not wrong:
            what = "the" if label is None else f"the {CLASSES[label]}"
            raise ValueError(f"{folder}: holds no files; {what} stacks must lie flat in it")
        found += units
        faults += wrong
    found, wrong = join_time_points(found)
    faults += wrong
    rate = find_rate([(unit.source, unit.shape.interval) for unit in found], given=source.frames_per_hour)
    placed = [attempt(unit.source, _finish, unit, source, rate) for unit in found]
    faults += [fault for _, fault in placed if fault]
    found = [unit for unit, fault in placed if not fault]
    names, labels = [unit.source for unit in found], [unit.label for unit in found]
    reasons = find_duplicate_positions(names, [unit.place for unit in found], labels)
    alone = [i for i, unit in enumerate(found) if not (unit.series or unit.parts) and Path(unit.path).is_file()]
    copies = find_copies([Path(found[i].path) for i in alone], [names[i] for i in alone], [labels[i] for i in alone])
    reasons |= {alone[i]: reason for i, reason in copies.items()}
    faults += [Fault(file=names[i], reason=reason) for i, reason in reasons.items()]
    kept = [unit for i, unit in enumerate(found) if i not in reasons]
    if source.folds:
        kept = _assign_folds(kept, folds=source.folds, seed=source.seed)
    return Scan([kept[i] for i in np.random.default_rng(0).permutation(len(kept))], faults)


def _scan_folder(
    folder: Path, *, label: int | None, source: CellsSource, plate_map: PlateMap | None
) -> tuple[list[StackUnit], list[Fault]]:
    """A folder's stacks with their classes, in order of name. label: None where the plate map tells it."""
    units, faults = list_units(
        folder,
        name_of=lambda name: name if label is None else f"{CLASSES[label]}/{name}",
        pattern=compile_pattern(source.name_regex),
        choice=source.choose_pages(),
        max_pixels=source.max_pixels,
    )
    if plate_map is None:
        return [replace(unit, label=label) for unit in units], faults
    told = [attempt(unit.source, _apply_map, unit, label, plate_map) for unit in units]
    return [unit for unit, fault in told if not fault], faults + [fault for _, fault in told if fault]


def _apply_map(unit: StackUnit, label: int | None, plate_map: PlateMap) -> StackUnit:
    """A stack with what the map tells of its well; ValueError where that is missing and needed, or contradicts the folder."""
    entry = plate_map.find(unit.place)
    if entry is None and label is None:
        raise ValueError(f"well {unit.place.well_name} is not in {Path(plate_map.path).name}, which tells the class")
    if entry is None:
        return replace(unit, label=label)
    if label is not None and entry.label != label:
        raise ValueError(f"{Path(plate_map.path).name} says {CLASSES[entry.label]}, the folder {CLASSES[label]}; mend one")
    source = unit.source if label is not None else f"{CLASSES[entry.label]}/{unit.source}"
    return replace(unit, label=entry.label, source=source, onset=entry.onset if entry.label else None)


def _finish(unit: StackUnit, source: CellsSource, rate: float) -> StackUnit:
    """A stack with its group and rate; ValueError where its file contradicts the rate or its name lacks the group."""
    check_rate(unit.shape.interval, rate)
    group = _find_group(Path(unit.path).name, unit.place, source.group)
    return replace(unit, group=group, frames_per_hour=rate, side=source.side)


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
    return [replace(unit, fold=fold[unit.group]) for unit in units]


def make(unit: StackUnit) -> Iterator[Sample | Fault]:
    """Every page of a stack as a sample, remarks, or what keeps the stack, or a page of one single level, from being used."""
    channels = max(len(unit.shape.planes), 1)
    levels, pages, remarks = [StackLevels(unit.shape.bits) for _ in range(channels)], [], []
    try:
        for number, page in unit.read(remarks.append):
            for own, plane in zip(levels, split_planes(page, channels), strict=True):
                own.add(plane)
            stored = resize_page(page, side=unit.side, channels=channels)
            told = describe_page(stored, channels=channels)
            pages.append((number, encode_tiff(stored), told, find_extremes(stored, channels=channels)))
    except ValueError as error:
        yield Fault(file=unit.source, reason=str(error))
        return
    shown = [(number, told["pixel_hash"]) for number, _, told, extremes in pages if not is_flat(extremes)]
    remarks += describe_repeats(shown)
    if missing := unit.shape.pages - len(pages):
        remarks.append(f"{missing} time points between the first and the last have no file")
    yield from (Fault(file=unit.source, reason=line, packed=True) for line in remarks)
    ranges, source_sha256 = [own.find_ranges() for own in levels], unit.hash_source()
    for number, content, told, extremes in pages:
        if is_flat(extremes):
            yield Fault(file=unit.source, row=number, reason="every pixel of the page has one value")
            continue
        row = _describe_stack(unit) | told | {
            "source_sha256": source_sha256,
            "page": number,
            "hours": (unit.place.first + number) / unit.frames_per_hour,
            **dict(zip(LEVELS[:4], ranges[0], strict=True)),
            **tell_further(ranges, extremes),
        }  # fmt: skip
        entries = json.dumps(row).encode()
        yield Sample(
            key=f"{unit.place.stack}_{number:04d}", files={"tif": content, "json": entries}, row=row | {"fold": unit.fold}
        )


def _describe_stack(unit: StackUnit) -> dict:
    """Columns that all pages of a stack share."""
    return {
        "group": unit.group,
        "source": unit.source,
        "stack": unit.place.stack,
        "pages": unit.shape.pages,
        "label": unit.label,
        "well": unit.place.well_name,
        "position": unit.place.position,
        "plate": unit.place.plate,
        "width": unit.side or unit.shape.width,
        "height": unit.side or unit.shape.height,
        "bits": unit.shape.bits,
        "channels": unit.shape.channels,
        "pixel_um": float(np.float32(unit.shape.pixel_um)),
        "onset_hour": unit.onset,
    }


def describe_page(page: np.ndarray, *, channels: int = 1) -> dict:
    """Columns that a stored page tells by itself: its pixels of all channels, levels and looks of the first one."""
    first = split_planes(page, channels)[0]
    return {
        "frame_min": int(first.min()),
        "frame_max": int(first.max()),
        "pixel_hash": hash_pixels(page),
        "perceptual_hash": hash_appearance(first),
    }


def find_extremes(page: np.ndarray, *, channels: int) -> list[tuple[int, int]]:
    """The least and the greatest level of each channel of a page."""
    return [(int(plane.min()), int(plane.max())) for plane in split_planes(page, channels)]


def is_flat(extremes: Sequence[tuple[int, int]]) -> bool:
    """Whether a page shows nothing: a dim channel may be of one level, but not all of them."""
    return all(least == most for least, most in extremes)


def tell_further(ranges: Sequence[tuple[int, ...]], extremes: Sequence[tuple[int, int]]) -> dict[str, list[int]]:
    """The column of the levels of the channels after the first; none where there is one.

    Args:
        ranges: of each channel: low, high, first_low, first_high.
        extremes: of each channel of the page.
    """
    further = zip(ranges[1:], extremes[1:], strict=True)
    return {FURTHER: [level for own, ends in further for level in (*own, *ends)]} if len(ranges) > 1 else {}


def describe_repeats(hashes: Sequence[tuple[int, str]]) -> list[str]:
    """A line where pages of one stack have equal pixels. hashes: (page, hash of its pixels)."""
    first: dict[str, int] = {}
    again = [(number, first[value]) for number, value in hashes if first.setdefault(value, number) != number]
    if not again:
        return []
    number, other = again[0]
    return [f"{len(again)} pages repeat an earlier one (first: page {number} is page {other}); did the camera stall?"]


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
