"""Stacks of a folder that was never packed and whose class nobody knows, made into pages as packing makes them."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import Fault, attempt
from tarpon.shards.sources.cells.names import WellPosition, compile_pattern, read_name
from tarpon.shards.sources.cells.pages import read_shape
from tarpon.shards.sources.cells.source import SCHEMA, CellsSource, StackUnit, make
from tarpon.tools.loose_images import LooseImages, natural_key

SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True, kw_only=True, eq=False)
class LooseStack:
    """The pages of one stack in memory, read like shards."""

    manifest: Manifest  # a row a page
    pages: LooseImages
    faults: list[Fault]  # pages that were left out


def list_stacks(folder: Path, source: CellsSource) -> tuple[list[StackUnit], list[Fault]]:
    """The stacks below a folder in natural order of their names, and what is no stack; hidden files are passed over.

    A name that does not tell well and position is fine here: `unit.place.well` is empty then.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    names = sorted((name for name in names if not any(part.startswith(".") for part in name.split("/"))), key=natural_key)
    if not names:
        raise ValueError(f"{folder}: no stacks ({', '.join(SUFFIXES)}) here or in folders below")
    units, faults = [], []
    for name in names:
        unit, fault = attempt(name, _make_unit, folder / name, name, source)
        if fault:
            faults.append(fault)
        else:
            units.append(unit)
    return units, faults


def _make_unit(path: Path, name: str, source: CellsSource) -> StackUnit:
    state, shape = path.stat(), read_shape(path, max_pixels=source.max_pixels)
    if shape.interval and abs(shape.interval * source.frames_per_hour / 3600 - 1) > 0.01:
        raise ValueError(
            f"the file tells {shape.interval / 60:g} min from page to page, frames_per_hour={source.frames_per_hour:g} tells "
            f"{60 / source.frames_per_hour:g}; give --frames_per_hour {3600 / shape.interval:g}"
        )
    try:
        place = read_name(path.stem, compile_pattern(source.name_regex))
    except ValueError:
        place = WellPosition(plate="", well="", position=0)
    return StackUnit(
        path=str(path), source=name, label=0, place=place, shape=shape, group=name, fold=-1,
        frames_per_hour=source.frames_per_hour, side=source.side, bytes=state.st_size, mtime_ns=state.st_mtime_ns,
    )  # fmt: skip


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
        raise ValueError("; ".join(fault.reason for fault in faults) or "holds no page")
    known = {name: kind for name, kind in SCHEMA.columns if name in rows[0]}
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in known.items()})
    manifest = Manifest(root=str(Path(unit.path).parent), card={"frames_per_hour": unit.frames_per_hour}, table=table)
    return LooseStack(manifest=manifest, pages=pages, faults=faults)
