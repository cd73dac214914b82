"""What must hold of one stored picture of a leaf."""

from collections.abc import Iterator

from tarpon.shards.sources.leaf.source import SCHEMA
from tarpon.tools.lint_checks import Kind, Stored
from tarpon.tools.lint_image import check_image


def labels(sample: Stored) -> Iterator[str]:
    """The species is one of the card's, and the folder of the source file."""
    species = sample.row["species"]
    if species not in sample.card["classes"]:
        yield f"species {species!r} is none of the card's {', '.join(sample.card['classes'])}"
    if not sample.row["source"].startswith(f"{species}/"):
        yield f"species is {species}, the source is {sample.row['source']}"


LEAF = Kind(schema=SCHEMA, checks={"labels": labels, "image": check_image})
