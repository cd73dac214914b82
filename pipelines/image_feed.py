"""Rows and draws -> what the image graph is fed: encoded bytes and parameter arrays, one list entry a sample.

Everything random was drawn by the plan; here it is only applied. How one image becomes arrays is its fields' affair
(`ImageFields` here, `PageFields` for microscope pages), which also name them; reading ahead and bad samples are the feed's.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tarpon.pipelines.ahead import Standby, read_ahead
from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import Budget


class Reads(Protocol):
    """What the feed asks of a reader: shards/reader.py has it, and so may a folder of loose files."""

    def read(self, row: int, column: str) -> bytes: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Shot:
    """One image to deliver."""

    row: int  # -1: padding, delivered as another image with row -1
    mirror: bool = False


class Fields(Protocol):
    """How a stored image becomes one sample's arrays."""

    column: str  # the manifest's component that holds the encoded image
    names: tuple[str, ...]  # of the arrays, in the graph's order

    def arrays(self, encoded: np.ndarray, shot: "Shot", row: int) -> dict[str, np.ndarray]:
        """Args: encoded (n,) uint8 bytes; row: the one that was read, which is another than the shot's where that is bad."""


@dataclass(frozen=True, kw_only=True)
class ImageFields:
    """An image to crop, mirror and normalise."""

    column: str
    mean: tuple[float, ...]  # of the backbone's training images, 0..1, one a channel
    std: tuple[float, ...]
    names: tuple[str, ...] = ("image", "mean", "std", "mirror", "row")

    def arrays(self, encoded: np.ndarray, shot: Shot, row: int) -> dict[str, np.ndarray]:
        """As `Fields.arrays`."""
        return {
            "image": encoded,
            "mean": 255 * np.array(self.mean, np.float32),
            "std": 255 * np.array(self.std, np.float32),
            "mirror": np.array(shot.mirror, np.int32),
            "row": np.array(row if shot.row >= 0 else -1, np.int64),
        }


class ImageFeed:
    """Turns shots into the arrays of one batch; reads ahead in threads.

    Args:
        pool: rows that may stand in for a bad one: the next of them in order, so that every rank and resume agrees.
        budget: bad samples allowed.
    """

    def __init__(
        self,
        manifest: Manifest,
        reader: Reads,
        fields: Fields,
        *,
        pool: np.ndarray,
        budget: Budget,
        threads: int = 2,
        ahead: int = 2,
    ) -> None:
        self.manifest, self.reader, self.fields, self.standby = manifest, reader, fields, Standby(pool, budget)
        self._threads, self._ahead = ThreadPoolExecutor(threads, thread_name_prefix="feed"), ahead
        self.NAMES = fields.names

    def batches(self, work: Iterable[Sequence[Shot]]) -> Iterator[tuple[list[np.ndarray], ...]]:
        """Arrays of each batch in the order of NAMES, read `ahead` batches early."""
        return read_ahead(work, self.sample, names=self.NAMES, threads=self._threads, ahead=self._ahead)

    def sample(self, shot: Shot) -> dict[str, np.ndarray]:
        """One image's arrays; a bad row spends the budget and the next good row of the pool stands in."""
        row = shot.row if shot.row >= 0 else int(self.standby.rows[0])
        return self.standby.first_good(row, lambda row: self._sample(shot, row))

    def _sample(self, shot: Shot, row: int) -> dict[str, np.ndarray]:
        encoded = np.frombuffer(self.reader.read(row, self.fields.column), np.uint8)
        return self.fields.arrays(encoded, shot, row)


def in_order(turns: Iterable[np.ndarray]) -> Iterator[list[Shot]]:
    """Work of row ids as stored, as from `plan.in_turn`; -1 pads."""
    return ([Shot(row=int(row)) for row in rows] for rows in turns)
