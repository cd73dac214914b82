"""The feed: requests -> inputs of a graph (encoded bytes and parameter arrays), by name, one list entry a sample.

All random parameters are drawn before, in the requests; here they are only applied. `Fields` (clip/, image/, page/, photo/)
turn one request into arrays; the feed reads ahead, replaces bad samples and measures the time.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tarpon.pipelines.fallback_rows import FallbackRows
from tarpon.pipelines.noise import NoiseBank, NoiseSlice
from tarpon.pipelines.read_ahead import Batch, read_ahead
from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import Budget


class SampleReader(Protocol):
    """Reads components of rows: shards/reader.py, or a folder of loose files."""

    def read(self, row: int, column: str) -> bytes:
        """Content of a component; BadSample where it cannot be read."""


class Request(Protocol):
    """One sample to deliver."""

    row: int  # -1: padding, delivered as another sample whose row is -1


@dataclass(frozen=True, slots=True)
class StoredRow:
    """Access to a row of a data set: its components and manifest columns."""

    manifest: Manifest
    reader: SampleReader
    row: int

    def read(self, column: str) -> bytes:
        """Content of a component; BadSample where it is not what was packed."""
        return self.reader.read(self.row, column)

    def read_uint8(self, column: str) -> np.ndarray:
        """Content of a component as (n,) uint8."""
        return np.frombuffer(self.read(column), np.uint8)

    def value(self, column: str) -> object:
        """The row's value of a manifest column."""
        return self.manifest.value(self.row, column)


class Fields(Protocol):
    """Turns a request into one sample's arrays, the graph's inputs."""

    names: tuple[str, ...]  # of the arrays; "row" is one of them
    banks: Mapping[str, NoiseBank]  # names of inputs that are noise slices -> their bank
    sample_bytes: int  # bytes of one delivered sample

    def arrays(self, stored: StoredRow, request: Request) -> dict[str, np.ndarray | NoiseSlice]:
        """One sample's arrays by name.

        Args:
            stored: the row to read; not the request's where that is bad or padding.
        """

    def check(self, manifest: Manifest, *, device: int | None) -> None:
        """ValueError when the stored samples cannot be decoded on the device."""


class Feed:
    """Turns requests into arrays, batch by batch; reads ahead in threads.

    Args:
        pool: ascending ids of the rows that may replace a bad one (see `FallbackRows`).
        budget: bad samples allowed.
        threads: number of reading threads.
        ahead: batches read ahead.

    Attributes:
        work_s: seconds spent making arrays, over all threads.
    """

    def __init__(
        self,
        manifest: Manifest,
        reader: SampleReader,
        fields: Fields,
        *,
        pool: np.ndarray,
        budget: Budget,
        threads: int = 2,
        ahead: int = 2,
    ) -> None:
        self.manifest, self.reader, self.fields, self.fallback = manifest, reader, fields, FallbackRows(pool, budget)
        self._threads, self._ahead = ThreadPoolExecutor(threads, thread_name_prefix="feed"), ahead
        self._lock = threading.Lock()  # of the clock
        self.work_s = 0.0

    def batches(self, work: Iterable[Sequence[Request]]) -> Iterator[Batch]:
        """Arrays of each batch by the names of the fields, as lists of one entry a sample."""
        return read_ahead(work, self.sample, names=self.fields.names, threads=self._threads, ahead=self._ahead)

    def sample(self, request: Request) -> dict[str, np.ndarray | NoiseSlice]:
        """One sample's arrays; a bad row is counted in the budget and replaced by the next good row of the pool."""
        begun = time.perf_counter()
        first = request.row if request.row >= 0 else int(self.fallback.rows[0])
        try:
            return self.fallback.make_first_good(
                first, lambda row: self.fields.arrays(StoredRow(self.manifest, self.reader, row), request)
            )
        finally:
            spent = time.perf_counter() - begun
            with self._lock:
                self.work_s += spent
