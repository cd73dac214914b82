"""Checks of one stored page of cells."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tarpon.shards.page_planes import FURTHER, LEVELS, count_channels
from tarpon.shards.sources.cells.pages import decode_tiff
from tarpon.shards.sources.cells.schema import CHANNELS_SCHEMA, NULLABLE
from tarpon.shards.sources.cells.source import JSON_COLUMNS, describe_page, find_extremes
from tarpon.shards.sources.cells.stack_copies import find_near_stacks
from tarpon.tools.lint_checks import Kind, Stored, compare_json

COPIED = ("group", "source", "source_sha256", *JSON_COLUMNS, FURTHER)


def check_meta(sample: Stored) -> Iterator[str]:
    """The JSON in the tar says what the manifest row says."""
    return compare_json(sample, "json", COPIED, single=("hours", "pixel_um", "onset_hour"))


def check_labels(sample: Stored) -> Iterator[str]:
    """Class, time and fold are ones that the card knows, and the class is that of the source's folder."""
    row, card = sample.row, sample.card
    names = card.get("classes", [])
    if row["label"] not in range(len(names)):
        yield f"label is {row['label']}; the card has {len(names)} classes"
    elif not row["source"].startswith(f"{names[row['label']]}/"):
        yield f"label is {names[row['label']]}, the source is {row['source']}"
    point = row["hours"] * card.get("frames_per_hour", 0)
    if not 0 <= row["page"] < row["pages"] or point < row["page"] - 0.01 or abs(point - round(point)) > 0.01:
        yield f"page {row['page']} of {row['pages']} at {row['hours']:g} h, {card.get('frames_per_hour')} pages an hour"
    folds = card.get("folds", 0)
    if row["fold"] not in (range(folds) if folds else (-1,)):
        yield f"fold is {row['fold']}; the card has {folds} folds"


def check_image(sample: Stored) -> Iterator[str]:
    """The page decodes, in the size, depth and range that the manifest says."""
    row = sample.row
    try:
        page = decode_tiff(sample.files["tif"])
    except ValueError as error:
        yield f"tif does not decode ({error})"
        return
    channels = count_channels(sample.card)
    shape = (channels * row["height"], row["width"]) + ((row["channels"],) if row["channels"] > 1 else ())
    if page.shape != shape or page.dtype.itemsize * 8 != row["bits"]:
        yield f"tif is {page.dtype} {page.shape}, the manifest says {row['bits']} bits {shape}"
        return
    for channel, (ends, told) in enumerate(
        zip(find_extremes(page, channels=channels), list_levels(row), strict=False), start=1
    ):
        if ends != (told["frame_min"], told["frame_max"]):
            where = f" of channel {channel}" if channels > 1 else ""
            yield f"levels {ends[0]} to {ends[1]}{where}, the manifest says {told['frame_min']} to {told['frame_max']}"
    for name, value in describe_page(page, channels=channels).items():
        if name.endswith("_hash") and row.get(name, value) != value:
            yield f"{name} of the page is {value}, the manifest says {row[name]}"


def check_levels(sample: Stored) -> Iterator[str]:
    """The ranges are ranges, within what the depth can hold."""
    channels, found = count_channels(sample.card), list_levels(sample.row)
    if len(found) != channels:
        yield f"{FURTHER} tells of {len(found) - 1} channels after the first, the card of {channels - 1}"
    for channel, told in enumerate(found, start=1):
        for low, high in (("low", "high"), ("first_low", "first_high")):
            least, most = told[low], told[high]
            dark = low == "first_low" or channels > 1  # one of several channels may be of one level throughout
            if not 0 <= least <= most < 2 ** sample.row["bits"] or (least == most and not dark):
                where = f" of channel {channel}" if channels > 1 else ""
                yield f"{low} to {high}{where} is {least} to {most} at {sample.row['bits']} bits"


def list_levels(row: Mapping) -> list[dict[str, int]]:
    """The levels of each channel of a page, by the names of the first one's columns."""
    further, count = row.get(FURTHER) or [], len(LEVELS)
    rest = [further[at - count : at] for at in range(count, len(further) + 1, count)]
    return [dict(zip(LEVELS, own, strict=True)) for own in ([row[name] for name in LEVELS], *rest)]


CELLS = Kind(
    schema=replace(CHANNELS_SCHEMA, later=CHANNELS_SCHEMA.later | {FURTHER}),
    checks={"meta": check_meta, "labels": check_labels, "image": check_image, "levels": check_levels},
    nullable=frozenset((*NULLABLE, FURTHER)),
    label="label",
    find_near_copies=find_near_stacks,
)
