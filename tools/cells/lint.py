"""Checks of one stored page of cells."""

from collections.abc import Iterator

from tarpon.shards.sources.cells.pages import decode_tiff
from tarpon.shards.sources.cells.schema import NULLABLE, SCHEMA
from tarpon.shards.sources.cells.source import JSON_COLUMNS, describe_page
from tarpon.shards.sources.cells.stack_copies import find_near_stacks
from tarpon.tools.lint_checks import Kind, Stored, compare_json

COPIED = ("group", "source", "source_sha256", *JSON_COLUMNS)


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
    shape = (row["height"], row["width"]) + ((row["channels"],) if row["channels"] > 1 else ())
    if page.shape != shape or page.dtype.itemsize * 8 != row["bits"]:
        yield f"tif is {page.dtype} {page.shape}, the manifest says {row['bits']} bits {shape}"
        return
    if (page.min(), page.max()) != (row["frame_min"], row["frame_max"]):
        yield f"levels {page.min()} to {page.max()}, the manifest says {row['frame_min']} to {row['frame_max']}"
    for name, value in describe_page(page).items():
        if name.endswith("_hash") and row.get(name, value) != value:
            yield f"{name} of the page is {value}, the manifest says {row[name]}"


def check_levels(sample: Stored) -> Iterator[str]:
    """The ranges are ranges, within what the depth can hold."""
    for low, high in (("low", "high"), ("first_low", "first_high")):
        least, most = sample.row[low], sample.row[high]
        if not 0 <= least <= most < 2 ** sample.row["bits"] or (low == "low" and least == most):
            yield f"{low} to {high} is {least} to {most} at {sample.row['bits']} bits"


CELLS = Kind(
    schema=SCHEMA,
    checks={"meta": check_meta, "labels": check_labels, "image": check_image, "levels": check_levels},
    nullable=frozenset(NULLABLE),
    label="label",
    find_near_copies=find_near_stacks,
)
