"""Several packed data sets as one: the rows of each are numbered after those of the one before."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import BadSample
from tarpon.shards.reader import Reader


class JoinedDatasets:
    """Several data sets with the interfaces of one `Manifest` and one `Reader`.

    Two parts may have the same key, so a key is given with the root of its part: `<root>:<key>`.

    Args:
        parts: each data set's manifest with its reader.
    """

    def __init__(self, parts: Sequence[tuple[Manifest | LazyManifest, Reader]]) -> None:
        if not parts:
            raise ValueError("no data sets to join; give one or more")
        self.parts = tuple(parts)
        lengths = [len(manifest) for manifest, _ in self.parts]
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)  # (parts + 1,) first row of each, and the end

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def find_part(self, row: int) -> int:
        """Index of the data set that holds a row; IndexError for a row beyond the end."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} is not among the {len(self)} rows of the joined data sets")
        return int(np.searchsorted(self.offsets, row, side="right")) - 1

    def value(self, row: int, column: str) -> object:
        """One cell; ValueError where the row's part lacks the column."""
        manifest, _, inside = self._locate(row)
        if isinstance(manifest, Manifest):
            _check_column(manifest, column)
        value = manifest.value(inside, column)
        return f"{manifest.root}:{value}" if column == "key" else value

    def column(self, name: str) -> np.ndarray:
        """(N,) values of all parts, each held whole, one after the other; ValueError where a part lacks the column or holds
        another type."""
        for manifest, _ in self.parts:
            _check_column(manifest, name)
        types = [manifest.table.schema.field(name).type for manifest, _ in self.parts]
        for (manifest, _), other in zip(self.parts, types, strict=True):
            if other != types[0]:
                raise ValueError(
                    f"{manifest.root}: column {name!r} is {other}, in {self.parts[0][0].root} {types[0]}; pack it again"
                )
        if name == "key":
            return np.array([f"{manifest.root}:{key}" for manifest, _ in self.parts for key in manifest.column(name)], object)
        return np.concatenate([manifest.column(name) for manifest, _ in self.parts])

    def read(self, row: int, column: str) -> bytes:
        """Content of one component of a row, as `Reader.read`.

        Raises:
            BadSample: as of the part's reader, with the part's root before the file.
        """
        manifest, reader, inside = self._locate(row)
        try:
            return reader.read(inside, column)
        except BadSample as error:
            raise BadSample(replace(error.fault, file=f"{manifest.root}/{error.fault.file}")) from error

    def fingerprint(self) -> str:
        """Hash of the parts' fingerprints, in order."""
        prints = "\0".join(manifest.fingerprint() for manifest, _ in self.parts)
        return hashlib.sha256(prints.encode()).hexdigest()

    def _locate(self, row: int) -> tuple[Manifest | LazyManifest, Reader, int]:
        number = self.find_part(row)
        return *self.parts[number], int(row) - int(self.offsets[number])


def _check_column(manifest: Manifest, column: str) -> None:
    """ValueError when the data set has no such column."""
    if column not in manifest.table.column_names:
        raise ValueError(
            f"{manifest.root}: no column {column!r}, there are {', '.join(manifest.table.column_names)}; "
            f"join data sets of one kind, or pack this one again"
        )
