"""Checks of one stored photograph of a known animal."""

from collections.abc import Iterator

from tarpon.shards.sources.star import reid
from tarpon.shards.sources.star.dates import read_day
from tarpon.tools.lint_checks import Kind, Stored, compare_json
from tarpon.tools.lint_image import check_image

COPIED = ("group", "source", "source_sha256", *(name for name, _ in reid.SCHEMA.columns))


def check_meta(sample: Stored) -> Iterator[str]:
    """The JSON in the tar says what the manifest row says."""
    return compare_json(sample, "json", COPIED)


def check_labels(sample: Stored) -> Iterator[str]:
    """Identity, data set, day, session, group and the part in the protocol fit together."""
    row = sample.row
    if not row["identity"].startswith(row["dataset"] + reid.JOIN):
        yield f"identity {row['identity']!r} does not begin with its data set {row['dataset']!r}"
    if row["dataset"] not in sample.card.get("datasets", ()):
        yield f"dataset {row['dataset']!r} is not among the card's datasets"
    if row["date"] and read_day(row["date"]) != row["date"]:
        yield f"date {row['date']!r} is no day in the form YYYY-MM-DD"
    if row["date"] and row["session"] != row["date"]:
        yield f"session {row['session']!r} is not the date {row['date']}"
    if row["group"] != (group := reid.make_group(row["identity"], row["session"], row["source"])):
        yield f"group {row['group']!r} is not {group!r}"
    if row["distractor"] and row["split"] != "train":
        yield f"a distractor is in {row['split']}: it would be asked"
    if row["novel"] and row["split"] != "test":
        yield f"a novel animal is in {row['split']}: it would be in the gallery"


REID = Kind(
    schema=reid.SCHEMA, checks={"meta": check_meta, "labels": check_labels, "image": check_image}, label="identity",
    find_near_copies=reid.find_near_copies,
)  # fmt: skip
