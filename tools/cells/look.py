"""Stacks of cells to look at: wells, hours, formats and grey levels by class, folds, and a contact sheet over time."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.page_planes import FURTHER, KEY, LEVELS, count_channels, read_levels, split_planes
from tarpon.shards.reader import Reader
from tarpon.shards.sources.cells.pages import decode_tiff
from tarpon.shards.sources.cells.timing import format_hours
from tarpon.tools.contact_sheet import COLUMNS, contact_sheet
from tarpon.tools.look import Preview
from tarpon.tools.table import table

COLOURS = (  # of the channels after the first, by turns
    ("green", np.array([0.0, 1.0, 0.0])),
    ("magenta", np.array([1.0, 0.0, 1.0])),
    ("yellow", np.array([1.0, 1.0, 0.0])),
    ("blue", np.array([0.2, 0.4, 1.0])),
)


def format_tables(manifest: Manifest) -> Iterator[str]:
    """Lines on classes, wells, formats, folds, and what to beware of."""
    yield from _classes(manifest)
    yield ""
    yield from _wells(manifest)
    yield ""
    yield from _formats(manifest)
    yield from describe_colours(manifest)
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
    full, names = 2.0 ** manifest.column("bits") - 1, manifest.card.get(KEY, [""])
    levels = [read_levels(manifest, end).reshape(len(full), -1) / full[:, None] for end in ("low", "high")]
    rows = []
    for name, number in sorted(set(zip(well.tolist(), label.tolist(), strict=True))):
        own = (well == name) & (label == number)
        parts = ", ".join(part for part in SPLITS if (own & (split == part)).any())
        medians = np.transpose([np.median(ends[own], axis=0) for ends in levels]).ravel().tolist()
        rows.append([name, manifest.card["classes"][number], len(set(stack[own])), int(own.sum()), parts, *medians])
    heads = [f"{channel} {end}".strip() for channel in names for end in ("low", "high")]
    yield from table(["well", "class", "stacks", "pages", "in", *heads], rows)


def _formats(manifest: Manifest) -> Iterator[str]:
    names, planes = ("bits", "channels", "width", "height"), count_channels(manifest.card)
    kinds = list(zip(*(manifest.column(name).tolist() for name in names), strict=True))
    stack, size = manifest.column("stack"), manifest.column("tif_size")
    rows = []
    for kind in sorted(set(kinds)):
        own = np.array([other == kind for other in kinds])
        bits, channels, width, height = kind
        ratio = size[own].mean() / (bits // 8 * channels * planes * width * height)
        colour = "RGB" if channels == 3 else "grey" if planes == 1 else f"grey, {planes} channels"
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
    """A page in 8 bits, its grey levels scaled by the range of its stack; of several channels all in one, in colours."""
    further = reader.manifest.value(row, FURTHER) if FURTHER in reader.manifest.table.column_names else None
    ranges = [tuple(reader.manifest.value(row, name) for name in ("low", "high"))]
    ranges += [tuple(further[at : at + 2]) for at in range(0, len(further or ()), len(LEVELS))]
    planes = split_planes(decode_tiff(reader.read(row, "tif")), len(ranges))
    scaled = [
        np.clip((plane.astype(float) - low) / max(high - low, 1), 0, 1)
        for plane, (low, high) in zip(planes, ranges, strict=True)
    ]
    return Image.fromarray((255 * mix_colours(scaled)).round().astype(np.uint8))


def mix_colours(planes: Sequence[np.ndarray]) -> np.ndarray:
    """Channels of 0..1 as one picture: the first in grey, on it the others as light of a colour each; one as it is."""
    if len(planes) == 1:
        return planes[0]
    mixed = np.repeat(planes[0][..., None], 3, -1)
    for number, plane in enumerate(planes[1:]):
        mixed = mixed + plane[..., None] * COLOURS[number % len(COLOURS)][1]
    return mixed.clip(0, 1)


def describe_colours(manifest: Manifest) -> Iterator[str]:
    """A line on how pages of several channels are shown; none for those of one."""
    if count_channels(manifest.card) > 1:
        first, *rest = manifest.card[KEY]
        drawn = [f"{name} in {COLOURS[number % len(COLOURS)][0]}" for number, name in enumerate(rest)]
        yield f"channels of a page: {first}, shown in grey; on it {', '.join(drawn)}"


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
