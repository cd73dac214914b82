"""Stacks of a folder that was never packed and whose class nobody knows, made into pages as packing makes them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import Fault, attempt
from tarpon.shards.sources.cells.formats import MAKERS, OTHER, TIFF, ZARR
from tarpon.shards.sources.cells.names import WellPosition, compile_pattern, read_name, read_series_name, strip_suffix
from tarpon.shards.sources.cells.pages import read_positions
from tarpon.shards.sources.cells.schema import CHANNELS_SCHEMA
from tarpon.shards.sources.cells.source import CellsSource, make
from tarpon.shards.sources.cells.timing import check_rate, find_rate
from tarpon.shards.sources.cells.units import StackUnit, join_time_points
from tarpon.tools.loose_images import LooseImages, natural_key

KNOWN = (*TIFF, *MAKERS, *OTHER, ZARR)  # of OTHER it is told what to do


@dataclass(frozen=True, kw_only=True, eq=False)
class LooseStack:
    """The pages of one stack in memory, read like shards."""

    manifest: Manifest  # a row a page
    pages: LooseImages
    faults: list[Fault]  # pages that were left out, and remarks


def list_stacks(folder: Path, source: CellsSource) -> tuple[list[StackUnit], list[Fault]]:
    """The stacks below a folder in natural order of their names, and what is no stack; hidden files are passed over.

    A name that does not tell well and position is fine here: `unit.place.well` is empty then.

    Raises:
        ValueError: nothing is there, or files tell of different times from page to page and no option says which holds.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    units, faults = [], []
    for paths in _walk(folder):
        own = [attempt(_name(path, folder), _read_file, path, _name(path, folder), source) for path in paths]
        made = [one for found, fault in own for one in (found if fault is None else [fault])]
        faults += [one for one in made if isinstance(one, Fault)]
        joined, wrong = join_time_points([one for one in made if isinstance(one, StackUnit)])
        units += joined
        faults += wrong
    if not units and not faults:
        raise ValueError(f"{folder}: no stacks ({', '.join((*TIFF, ZARR, *MAKERS))}) here or in folders below")
    rate = find_rate([(unit.source, unit.shape.interval) for unit in units], given=source.frames_per_hour)
    rated = [attempt(unit.source, _set_rate, unit, rate, source.side) for unit in units]
    found = sorted((unit for unit, fault in rated if not fault), key=lambda unit: natural_key(unit.source))
    return found, faults + [fault for _, fault in rated if fault]


def _walk(folder: Path) -> Iterator[list[Path]]:
    """The stacks' files of each folder, in natural order; a .zarr folder is one of them."""
    for parent, below, files in os.walk(folder):
        below[:] = sorted((name for name in below if not name.startswith(".")), key=natural_key)
        names = [*files, *(name for name in below if name.lower().endswith(ZARR))]
        below[:] = [name for name in below if not name.lower().endswith(ZARR)]
        names = sorted((name for name in names if name.lower().endswith(KNOWN) and not name.startswith(".")), key=natural_key)
        yield [Path(parent) / name for name in names]


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _read_file(path: Path, name: str, source: CellsSource) -> list[StackUnit | Fault]:
    """The stacks of a file, a fault for one that cannot be read; none where it holds later pages of another file's stack."""
    found = read_positions(path, choice=source.choose_pages(), max_pixels=source.max_pixels)
    state = path.stat()
    return [
        StackUnit(
            path=str(path),
            source=f"{name} position {number + 1}" if len(found) > 1 else name,
            label=0,
            place=_find_place(path, one.name if len(found) > 1 else None, number, source),
            shape=one.shape,
            bytes=state.st_size,
            mtime_ns=state.st_mtime_ns,
            choice=source.choose_pages(),
            series=number,
            files=one.files,
        )
        if not one.refusal
        else Fault(file=f"{name} position {number + 1}", reason=one.refusal)
        for number, one in enumerate(found)
    ]


def _find_place(path: Path, series: str | None, number: int, source: CellsSource) -> WellPosition:
    """Where a stack was filmed, by its name or that of its position in the file; without a well where they do not tell."""
    stem, pattern = strip_suffix(path.name), compile_pattern(source.name_regex)
    try:
        return read_name(stem, pattern) if series is None else read_series_name(stem, series, number + 1, pattern)
    except ValueError:
        return WellPosition(plate="", well="", position=number)


def _set_rate(unit: StackUnit, rate: float, side: int) -> StackUnit:
    check_rate(unit.shape.interval, rate)
    return replace(unit, frames_per_hour=rate, side=side)


def read_stack(unit: StackUnit) -> LooseStack:
    """All pages of a stack with their grey levels, by the code that packs. ValueError where none can be used."""
    pages, rows, faults = LooseImages(), [], []
    for made in make(unit):
        if isinstance(made, Fault):
            faults.append(made)
            continue
        pages.held[len(rows)] = made.files["tif"]
        rows.append(made.row)
    if not rows:
        raise ValueError("; ".join(fault.reason for fault in faults if not fault.packed) or "holds no page")
    known = {name: kind for name, kind in CHANNELS_SCHEMA.columns if name in rows[0]}
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in known.items()})
    manifest = Manifest(root=str(Path(unit.path).parent), card={}, table=table)
    return LooseStack(manifest=manifest, pages=pages, faults=faults)
