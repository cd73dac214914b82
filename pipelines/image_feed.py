"""Rows and draws -> what the image graph is fed: encoded bytes and parameter arrays, one list entry a sample.

Everything random was drawn by the plan; here it is only applied. A task with more augmentation adds fields to Shot, names
to NAMES and the operator to the graph: the way of the data stays this one.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import BadSample, Budget


class Reads(Protocol):
    """What the feed asks of a reader: shards/reader.py has it, and so may a folder of loose files."""

    def read(self, row: int, column: str) -> bytes: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Shot:
    """One image to deliver."""

    row: int  # -1: padding, delivered as another image with row -1
    mirror: bool = False


@dataclass(frozen=True, kw_only=True)
class ImageFields:
    """How a stored image becomes one sample's arrays."""

    column: str  # the manifest's component that holds the encoded image
    mean: tuple[float, ...]  # of the backbone's training images, 0..1, one a channel
    std: tuple[float, ...]


class ImageFeed:
    """Turns shots into the arrays of one batch; reads ahead in threads.

    Args:
        pool: rows that may stand in for a bad one: the next of them in order, so that every rank and resume agrees.
        budget: bad samples allowed.
    """

    NAMES = ("image", "mean", "std", "mirror", "row")

    def __init__(
        self,
        manifest: Manifest,
        reader: Reads,
        fields: ImageFields,
        *,
        pool: np.ndarray,
        budget: Budget,
        threads: int = 2,
        ahead: int = 2,
    ) -> None:
        self.manifest, self.reader, self.fields, self.rows, self.budget = manifest, reader, fields, pool, budget
        self._threads, self._ahead = ThreadPoolExecutor(threads, thread_name_prefix="feed"), ahead
        self._mean = 255 * np.array(fields.mean, np.float32)
        self._std = 255 * np.array(fields.std, np.float32)
        self._lock = threading.Lock()  # of the budget: samples are made in several threads

    def batches(self, work: Iterable[Sequence[Shot]]) -> Iterator[tuple[list[np.ndarray], ...]]:
        """Arrays of each batch in the order of NAMES, read `ahead` batches early."""
        queue: deque = deque()
        for shots in work:
            queue.append([self._threads.submit(self.sample, shot) for shot in shots])
            if len(queue) > self._ahead:
                yield self._gather(queue.popleft())
        while queue:
            yield self._gather(queue.popleft())

    @staticmethod
    def _gather(futures: list) -> tuple[list[np.ndarray], ...]:
        samples = [future.result() for future in futures]
        return tuple([sample[name] for sample in samples] for name in ImageFeed.NAMES)

    def sample(self, shot: Shot) -> dict[str, np.ndarray]:
        """One image's arrays; a bad row spends the budget and the next good row of the pool stands in."""
        row = shot.row if shot.row >= 0 else int(self.rows[0])
        for _ in range(len(self.rows) + 1):
            try:
                return {
                    "image": np.frombuffer(self.reader.read(row, self.fields.column), np.uint8),
                    "mean": self._mean,
                    "std": self._std,
                    "mirror": np.array(shot.mirror, np.int32),
                    "row": np.array(row if shot.row >= 0 else -1, np.int64),
                }
            except BadSample as error:
                with self._lock:
                    self.budget.spend(error.fault)
                at = int(np.searchsorted(self.rows, row)) + 1
                row = int(self.rows[at % len(self.rows)])
        raise ValueError("no readable sample is left; run `tarpon lint` on the shards")


def in_order(turns: Iterable[np.ndarray]) -> Iterator[list[Shot]]:
    """Work of row ids as stored, as from `plan.in_turn`; -1 pads."""
    return ([Shot(row=int(row)) for row in rows] for rows in turns)
