"""Stacks of cells to look at: wells, hours, formats and grey levels by class, folds, and a contact sheet over time."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.reader import Reader
from tarpon.shards.sources.cells.pages import decode_tiff
from tarpon.shards.sources.cells.timing import format_hours
from tarpon.tools.contact_sheet import COLUMNS, contact_sheet
from tarpon.tools.look import Preview
from tarpon.tools.table import table


def format_tables(manifest: Manifest) -> Iterator[str]:
    """Lines on classes, wells, formats, folds, and what to beware of."""
    yield from _classes(manifest)
    yield ""
    yield from _wells(manifest)
    yield ""
    yield from _formats(manifest)
    if manifest.card["folds"]:
        yield ""
        yield from _folds(manifest)
    yield ""
    yield from (f"note: {line}" for line in manifest.card["notes"])
    yield from (f"WARNING: {line}" for line in manifest.card["warnings"])


def _classes(manifest: Manifest) -> Iterator[str]:
    label, stack, split, hours = (manifest.column(name) for name in ("label", "stack", "split", "hours"))
    rows = []
    for number, name in enumerate(manifest.card["classes"]):
        own = label == number
        if own.any():
            by_split = [len(set(stack[own & (split == part)])) for part in SPLITS]
            span = f"{format_hours(hours[own].min())} to {format_hours(hours[own].max())}"
            rows.append([name, len(set(stack[own])), *by_split, int(own.sum()), span])
    yield from table(["class", "stacks", *SPLITS, "pages", "hours"], rows)


def _wells(manifest: Manifest) -> Iterator[str]:
    """Grey levels as shares of what the depth can hold: wells of unlike light are told apart by them."""
    well, label, stack, split = (manifest.column(name) for name in ("well", "label", "stack", "split"))
    full = 2.0 ** manifest.column("bits") - 1
    low, high = manifest.column("low") / full, manifest.column("high") / full
    rows = []
    for name, number in sorted(set(zip(well.tolist(), label.tolist(), strict=True))):
        own = (well == name) & (label == number)
        parts = ", ".join(part for part in SPLITS if (own & (split == part)).any())
        rows.append([name, manifest.card["classes"][number], len(set(stack[own])), int(own.sum()), parts,
                     float(np.median(low[own])), float(np.median(high[own]))])  # fmt: skip
    yield from table(["well", "class", "stacks", "pages", "in", "low", "high"], rows)


def _formats(manifest: Manifest) -> Iterator[str]:
    names = ("bits", "channels", "width", "height")
    kinds = list(zip(*(manifest.column(name).tolist() for name in names), strict=True))
    stack, size = manifest.column("stack"), manifest.column("tif_size")
    rows = []
    for kind in sorted(set(kinds)):
        own = np.array([other == kind for other in kinds])
        bits, channels, width, height = kind
        ratio = size[own].mean() / (bits // 8 * channels * width * height)
        colour = "grey" if channels == 1 else "RGB"
        rows.append([f"{bits}-bit {colour}", f"{width} x {height}", len(set(stack[own])), int(own.sum()), float(ratio)])
    yield from table(["format", "pixels", "stacks", "pages", "of raw size"], rows)


def _folds(manifest: Manifest) -> Iterator[str]:
    fold, label, stack = (manifest.column(name) for name in ("fold", "label", "stack"))
    rows = [
        [k, *(len(set(stack[(fold == k) & (label == number)])) for number in range(len(manifest.card["classes"])))]
        for k in range(manifest.card["folds"])
    ]
    yield from table(["fold", *(f"{name} stacks" for name in manifest.card["classes"])], rows)


def pick_rows(manifest: Manifest, *, count: int, seed: int) -> list[int]:
    """`count` rows at most: lines of one stack over time, stacks of the classes by turns; no row twice."""
    rng = np.random.default_rng(seed)
    label, stack, page = (manifest.column(name) for name in ("label", "stack", "page"))
    order = []
    for number in sorted(set(label.tolist()), reverse=True):
        names = sorted(set(stack[label == number]))
        order.append([names[i] for i in rng.permutation(len(names))])
    turns = [names[turn] for turn in range(max(map(len, order))) for names in order if turn < len(names)]
    taken: list[int] = []
    for name in turns:
        rows = np.flatnonzero(stack == name)
        rows = rows[np.argsort(page[rows])]
        places = np.linspace(0, len(rows) - 1, min(COLUMNS, len(rows), count - len(taken))).round().astype(int)
        taken += rows[places].tolist()
        if len(taken) >= count:
            break
    return taken


def read_page(reader: Reader, row: int) -> Image.Image:
    """A page in 8 bits, its grey levels scaled by the range of its stack."""
    low, high = (reader.manifest.value(row, name) for name in ("low", "high"))
    page = decode_tiff(reader.read(row, "tif")).astype(float)
    scaled = np.clip((page - low) / max(high - low, 1), 0, 1)
    return Image.fromarray((255 * scaled).round().astype(np.uint8))


def draw_sheet(manifest: Manifest, *, count: int, seed: int) -> bytes:
    """A PNG: pages by hour, their grey levels scaled by the range of their stack."""
    reader, pictures, captions = Reader(manifest), [], []
    for row in pick_rows(manifest, count=count, seed=seed):
        known = manifest.table.slice(row, 1).to_pylist()[0]
        pictures.append(read_page(reader, row))
        moment = f"{manifest.card['classes'][known['label']]}, {format_hours(known['hours'])} h"
        captions.append((moment, known["stack"], known["split"]))
    reader.close()
    return contact_sheet(pictures, captions)


PREVIEW = Preview(tables=format_tables, sheet=draw_sheet)
