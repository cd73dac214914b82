"""What the fish model answers: one head an attribute, each of one of three kinds. An attribute more is a line of HEADS.

Labels: of `classes` (B,) integers, -1 unknown; of `flags` (B, L) 0 or 1, -1 or NaN unknown; of a `number` (B,) float, NaN
unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CLASSES, FLAGS, NUMBER = "classes", "flags", "number"


@dataclass(frozen=True, kw_only=True)
class Head:
    """One attribute."""

    kind: str  # classes: one of several | flags: several yes or no | number
    names: str = ""  # the encoders' list of its classes or flags; none for a number
    optional: bool = False  # answered only where the options ask for it


HEADS: dict[str, Head] = {  # in the order of the gates and of loss.weights
    "family": Head(kind=CLASSES, names="families"),
    "order": Head(kind=CLASSES, names="orders"),
    "habitat": Head(kind=FLAGS, names="habitats"),
    "troph": Head(kind=NUMBER),
    "feeding": Head(kind=CLASSES, names="feeding", optional=True),
}


def head_width(head: Head, encoders: Mapping[str, Sequence[str]]) -> int:
    """Numbers of its output; 0 where the encoders know no names of it."""
    return 1 if head.kind == NUMBER else len(encoders.get(head.names, ()))
