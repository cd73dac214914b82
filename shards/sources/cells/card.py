"""The card's entries of packed stacks, with warnings where a good score would not mean infection."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc

from tarpon.shards import installed
from tarpon.shards.manifest import SPLITS
from tarpon.shards.pack import collect_versions
from tarpon.shards.page_planes import FURTHER, KEY, LEVELS
from tarpon.shards.source import Scan
from tarpon.shards.sources.cells.levels import find_depth
from tarpon.shards.sources.cells.schema import CLASSES
from tarpon.shards.sources.cells.source import CellsSource
from tarpon.shards.sources.cells.units import StackUnit

SHOWN = 4  # names listed in a line


def describe(rows: pa.Table, *, found: Scan, options: CellsSource) -> dict:
    """The card's entries of this kind."""
    wells = _collect_values(rows, ("well", "label"), "stack")
    # what was found in the files goes into the settings too: a run keeps them, to read new stacks in the same way
    known = {"frames_per_hour": found.units[0].frames_per_hour, "camera_bits": _find_camera_bits(rows)}
    known |= {KEY: list(planes)} if (planes := _find_channels(found.units)) else {}
    return {
        "classes": list(CLASSES),
        "settings": asdict(options) | known,
        **known,
        "group": options.group,
        "folds": options.folds,
        "stacks": len(set(rows["stack"].to_pylist())),
        "wells": [
            {"well": well, "class": CLASSES[label], "stacks": len(stacks)} for (well, label), stacks in sorted(wells.items())
        ],
        "warnings": [*find_warnings(rows), *_check_channels(found.units)],
        "notes": [*find_notes(found.units), *_describe_rate(found.units, options)],
        "pixel_um": sorted({round(unit.shape.pixel_um, 6) for unit in found.units if unit.shape.pixel_um}),
        "versions": collect_versions() | installed.find_versions(("tifffile", "imagecodecs")),
    }


def find_warnings(rows: pa.Table) -> Iterator[str]:
    """One line for each confounder that separates the classes without the infection, and for each split that lacks a class."""
    yield from _check_classes(rows)
    yield from _check_wells(rows)
    yield from _check_hours(rows)
    yield from _check_formats(rows)


def find_notes(units: Sequence[StackUnit]) -> Iterator[str]:
    """One line for each irregularity that was accepted."""
    other = [
        unit for unit in units if unit.place.last is not None and unit.shape.pages != unit.place.last - unit.place.first + 1
    ]
    if other:
        unit = other[0]
        yield (
            f"{len(other)} of {len(units)} stacks hold another number of pages than their names say (e.g. {unit.source}: "
            f"{unit.shape.pages}, t{unit.place.first}-{unit.place.last}); hours are counted by pages from the first"
        )
    late = [unit for unit in units if unit.place.first]
    if late:
        yield f"{len(late)} stacks begin late by their names (e.g. {late[0].source}); their hours begin there"


def _find_camera_bits(rows: pa.Table) -> int:
    """Bits that the pages of 16 bits use, by the brightest pixel of them all; 8 where there are none."""
    deep = rows.filter(pc.equal(rows["bits"], 16))
    greatest = deep["frame_max"].to_numpy().max(initial=0)
    if FURTHER in rows.column_names:
        further = pc.list_flatten(deep[FURTHER]).to_numpy().reshape(-1, len(LEVELS))
        greatest = max(greatest, further[:, LEVELS.index("frame_max")].max(initial=0))
    return find_depth(int(greatest))


def _find_channels(units: Sequence[StackUnit]) -> tuple[str, ...]:
    """Names of the channels of pages that have several, as most stacks tell them; empty where pages have one."""
    told = Counter(unit.shape.planes for unit in units)
    return max(told, key=lambda planes: (told[planes], planes), default=())


def _check_channels(units: Sequence[StackUnit]) -> Iterator[str]:
    """A warning where stacks have other names for the channels that were asked for by number."""
    usual = _find_channels(units)
    other = [unit for unit in units if unit.shape.planes != usual and not all(name.isdigit() for name in unit.shape.planes)]
    if other:
        yield (
            f"{len(other)} stacks name their channels {', '.join(other[0].shape.planes)} ({other[0].source}), the others "
            f"{', '.join(usual)}: what one input shows differs among stacks. Choose channels by name"
        )


def _describe_rate(units: Sequence[StackUnit], options: CellsSource) -> Iterator[str]:
    """Where the pages an hour are from, unless an option gave them."""
    if options.frames_per_hour is None:
        told, rate = sum(unit.shape.interval > 0 for unit in units), units[0].frames_per_hour
        where = f"the time from page to page that {told} of {len(units)} files tell" if told else "the usual; no file tells"
        yield f"{rate:g} pages an hour: {where}. data.frames.frames_per_hour sets it"


def _collect_values(rows: pa.Table, by: Sequence[str], what: str) -> dict[tuple, set]:
    """The values of column `what` for every combination of values of the columns `by`."""
    found: dict[tuple, set] = defaultdict(set)
    for *key, value in zip(*(rows[name].to_pylist() for name in (*by, what)), strict=True):
        found[tuple(key)].add(value)
    return found


def _check_classes(rows: pa.Table) -> Iterator[str]:
    held = _collect_values(rows, ("split",), "label")
    for label, name in enumerate(CLASSES):
        lacking = [split for split in SPLITS if (split,) in held and label not in held[split,]]
        if lacking:
            yield f"{', '.join(lacking)} holds no {name} stack: no score that needs both classes can be had there"


def _check_wells(rows: pa.Table) -> Iterator[str]:
    """Warnings where the well determines the class: unavoidable on a plate, harmless only if test wells are new."""
    wells = _collect_values(rows, ("label",), "well")
    alone = [label for label in range(len(CLASSES)) if len(wells[label,]) == 1]
    for label in alone:
        (well,) = wells[label,]
        yield (
            f"every {CLASSES[label]} stack is from well {well}: class and well cannot be told apart, so a model may learn that "
            f"well's background, light or density. Read every score as one within these wells, or image each class in several "
            f"wells and pack with --group well"
        )
    if alone or set.intersection(*(wells[label,] for label in range(len(CLASSES)))):
        return
    shared = [well for (well,), groups in _collect_values(rows, ("well",), "group").items() if len(groups) > 1]
    if shared:
        yield (
            f"no well holds both classes, and positions of one well may stand in train and in test ({_join_names(shared)}): a "
            f"model may know the well and not the infection. Pack with --group well to test on wells it has not seen"
        )


def _check_hours(rows: pa.Table) -> Iterator[str]:
    hours = _collect_values(rows, ("label",), "hours")
    spans = [(min(hours[label,]), max(hours[label,])) for label in range(len(CLASSES)) if hours[label,]]
    if len(set(spans)) > 1:
        hours_text = ", ".join(f"{name} {first:g} to {last:g} h" for name, (first, last) in zip(CLASSES, spans, strict=True))
        yield f"the classes were imaged over different hours ({hours_text}): time tells the class. Train with match_windows"


def _check_formats(rows: pa.Table) -> Iterator[str]:
    formats: dict[int, set[Hashable]] = defaultdict(set)
    for label, *kind in zip(
        *(rows[name].to_pylist() for name in ("label", "bits", "channels", "width", "height")), strict=True
    ):
        formats[label].add(tuple(kind))
    if len(formats) == len(CLASSES) and not set.intersection(*formats.values()):
        yield "no bit depth, colour and size of pages is common to both classes: the file format tells the class"
    pixels = _collect_values(rows, ("label",), "pixel_um")
    if len(pixels) == len(CLASSES) and not set.intersection(*pixels.values()):
        yield "no size of a pixel in micrometres is common to both classes: the magnification tells the class"


def _join_names(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(sorted(names)[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
