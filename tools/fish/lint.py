"""Checks of one stored fish image."""

from collections.abc import Iterator

import numpy as np

from tarpon.shards.sources.fish import source
from tarpon.tools.lint_checks import Kind, Stored, compare_json
from tarpon.tools.lint_image import check_image

COPIED = ("group", "source", "source_sha256", *(name for name, _ in source.SCHEMA.columns))
NAMES = {"family": "families", "order": "orders", "feeding": "feeding"}  # column -> list of names in the card
ATTRIBUTES = ("troph", "feeding", "habitat")


def check_meta(sample: Stored) -> Iterator[str]:
    """The JSON in the tar says what the manifest row says, missing values included."""
    return compare_json(sample, "json", COPIED, single=("troph",))


def check_labels(sample: Stored) -> Iterator[str]:
    """Names are those of the card; the attributes are there or missing together."""
    row = sample.row
    for column, listed in NAMES.items():
        if row[column] is not None and row[column] not in sample.card.get(listed, ()):
            yield f"{column} {row[column]!r} is not among the card's {listed}"
    missing = [name for name in ATTRIBUTES if row[name] is None]
    if missing and len(missing) < len(ATTRIBUTES):
        yield f"{', '.join(missing)} missing and other attributes not"
    if row["habitat"] is not None and (len(row["habitat"]) != len(source.HABITATS) or not set(row["habitat"]) <= {0, 1}):
        yield f"habitat is {row['habitat']}, {len(source.HABITATS)} of 0 or 1 are expected"
    if row["troph"] is not None and not np.isfinite(row["troph"]):
        yield f"troph is {row['troph']}"


CHECKS = {"meta": check_meta, "labels": check_labels, "image": check_image}
FISH = Kind(
    schema=source.SCHEMA, checks=CHECKS, nullable=frozenset(source.NULLABLE), label="family",
    find_near_copies=source.find_near_copies,
)  # fmt: skip
