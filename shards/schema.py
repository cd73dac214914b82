"""The schema of a kind of data set: a sample's files in the tar and its columns in the manifest."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

VERSION = 1  # of the layout on disk; a reader refuses any other
HASHES = (  # columns by which copies are known, of kinds that have them
    ("pixel_hash", pa.string()),  # of the decoded pixels: equal for copies saved in another way
    ("perceptual_hash", pa.string()),  # of the coarse picture: little different for near copies
)


@dataclass(frozen=True, kw_only=True)
class Component:
    """One file of a sample inside the tar, named `<key>.<name>`."""

    name: str  # extension in the tar, e.g. "keypoints.npy"
    holds: str  # dtype, shape and unit, for the dataset card
    optional: bool = False  # a sample may lack it: size 0 in the manifest

    @property
    def column(self) -> str:
        """Prefix of this component's manifest columns: `<column>_offset`, `_size`, `_sha256`."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What `shards.parquet` tells of the rows that a shard has of one split, so that a plan need not read them."""

    columns: tuple[tuple[str, pa.DataType], ...]
    make: Callable[[pa.Table], dict[str, object]]  # those rows -> those columns; a module-level function
    kinds: tuple[str, ...] = ()  # columns whose combinations of values the card counts


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The layout of one kind of data set."""

    kind: str
    components: tuple[Component, ...]
    columns: tuple[tuple[str, pa.DataType], ...]  # of this kind, beside the ones every kind has
    later: frozenset[str] = frozenset()  # those of them that data sets of earlier versions lack
    summary: Summary | None = None

    def arrow(self) -> pa.Schema:
        """The manifest's columns: what every kind has, three a component, then the kind's own."""
        fields = [
            ("key", pa.string()),
            ("shard", pa.string()),
            ("group", pa.string()),
            ("split", pa.string()),
            ("source", pa.string()),
            ("source_sha256", pa.string()),
        ]
        for component in self.components:
            fields += [
                (f"{component.column}_offset", pa.int64()),
                (f"{component.column}_size", pa.int64()),
                (f"{component.column}_sha256", pa.string()),
            ]
        return pa.schema(fields + list(self.columns))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One sample to be written to a tar."""

    key: str  # unique in the data set; no dot or slash, a dot would start the extension
    files: dict[str, bytes]  # component name -> content
    row: dict[str, object]  # the kind's own manifest columns, with group and source

    def __post_init__(self) -> None:
        if not self.key or set(self.key) & set("./ \\"):
            raise ValueError(f"sample key {self.key!r} must be non-empty and free of dots, slashes and blanks")


def sanitise_key(name: str) -> str:
    """`name` with every character that is not allowed in a key replaced by an underscore."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
