"""Requests -> what a graph is fed: encoded bytes and parameter arrays, by name, one list entry a sample.

Everything random was drawn by the plan; here it is only applied. How one request becomes arrays is its fields' affair
(clip/, image/, page/, photo/); reading ahead, bad samples and the time it takes are the feed's.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from tarpon.pipelines.fallback_rows import FallbackRows, Filler, left_out
from tarpon.pipelines.noise import NoiseBank, NoiseSlice
from tarpon.pipelines.read_ahead import Batch, read_ahead
from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import BadSample, Budget, Fault


class SampleReader(Protocol):
    """What the feed asks of a reader: shards/reader.py has it, and so may a folder of loose files."""

    def read(self, row: int, column: str) -> bytes: ...


class Request(Protocol):
    """One sample to deliver."""

    row: int  # -1: padding, delivered as another sample with row -1
    # and where it has one, `present`: False for a place that is filled and not asked for


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of a data set, with its bytes."""

    manifest: Manifest
    reader: SampleReader
    row: int

    def read(self, column: str) -> bytes:
        """Content of a component; BadSample where it is not what was packed."""
        return self.reader.read(self.row, column)

    def read_uint8(self, column: str) -> np.ndarray:
        """The same as (n,) uint8."""
        return np.frombuffer(self.read(column), np.uint8)

    def value(self, column: str) -> object:
        return self.manifest.value(self.row, column)


class Fields(Protocol):
    """How a request becomes one sample's arrays."""

    names: tuple[str, ...]  # of the arrays; "row" is one of them
    banks: Mapping[str, NoiseBank]  # those of them that are stretches of noise, and where it lies
    sample_bytes: int  # of one delivered sample
    column: str  # the component that is decoded

    def arrays(self, stored: StoredRow, request: Request) -> dict[str, np.ndarray | NoiseSlice]:
        """Args: stored: the row that is read, which is another than the request's where that is bad or padding."""

    def check(self, manifest: Manifest, *, device: int | None) -> None:
        """ValueError when what is stored cannot be decoded there."""


class Feed:
    """Turns requests into the arrays of one batch; reads ahead in threads.

    Args:
        pool: rows that may stand in for a bad one: the next of them in order, so that every rank and resume agrees. Padding is
            filled with the first good one.
        budget: bad samples allowed.
        rejected: rows that are not to be read, and why; what is rejected here is added to it.
        substitute: False: nothing stands in for a bad row. It is delivered as padding is, its row told by `left_out`.

    Attributes:
        work_s: seconds spent making arrays, over all threads.
        rejected: row -> why it is not read again although its bytes are those that were packed.
    """

    def __init__(
        self,
        manifest: Manifest,
        reader: SampleReader,
        fields: Fields,
        *,
        pool: Sequence[int],
        budget: Budget,
        substitute: bool = True,
        rejected: dict[int, Fault] | None = None,
        threads: int = 2,
        ahead: int = 2,
    ) -> None:
        self.manifest, self.reader, self.fields, self.fallback = manifest, reader, fields, FallbackRows(pool, budget)
        self.filler, self.substitute = Filler(pool), substitute
        self.rejected = {} if rejected is None else rejected
        self._threads, self._ahead = ThreadPoolExecutor(threads, thread_name_prefix="feed"), ahead
        self._lock = threading.Lock()  # of the clock
        self.work_s = 0.0

    def batches(self, work: Iterable[Sequence[Request]]) -> Iterator[Batch]:
        """Arrays of each batch by the names of the fields, read `ahead` batches early."""
        return read_ahead(work, self.sample, names=self.fields.names, threads=self._threads, ahead=self._ahead)

    def sample(self, request: Request) -> dict[str, np.ndarray | NoiseSlice]:
        """One sample's arrays; a bad row spends the budget, and the next good row of the pool or nothing stands in."""
        begun = time.perf_counter()
        try:
            if request.row < 0:
                return self._fill(request)
            if self.substitute:
                return self.fallback.make_first_good(request.row, lambda row: self._arrays(row, request))
            return self._own(request)
        finally:
            spent = time.perf_counter() - begun
            with self._lock:
                self.work_s += spent

    def reject(self, row: int, reason: str) -> None:
        """Read a row no more: its bytes are sound, and do not decode. The budget is spent when it is asked for."""
        where, offset = str(self.manifest.value(row, "key")), None
        if (location := self._locate(row)) is not None:
            shard, offset = location
            root, _, key = where.rpartition(":")  # in joined data sets a root stands before the key
            where = f"{root}/{shard}:{key}" if root else f"{shard}:{key}"
        self.rejected[row] = Fault(file=where, reason=f"{self.fields.column}: {reason}", offset=offset)

    def _locate(self, row: int) -> tuple[str, int] | None:
        """(tar, byte offset) of what is decoded; None for loose files, which lie in no tar."""
        try:
            return self.manifest.value(row, "shard"), self.manifest.value(row, f"{self.fields.column}_offset")
        except ValueError:
            return None

    def _own(self, request: Request) -> dict[str, np.ndarray | NoiseSlice]:
        try:
            return self._arrays(request.row, request)
        except BadSample as error:
            self.fallback.spend(error.fault, request.row)
        asked = getattr(request, "present", True)
        return self._fill(request) | {"row": np.array(left_out(request.row) if asked else -1, np.int64)}

    def _fill(self, request: Request) -> dict[str, np.ndarray | NoiseSlice]:
        return self.filler.make(lambda row: self._arrays(row, replace(request, row=-1)))

    def _arrays(self, row: int, request: Request) -> dict[str, np.ndarray | NoiseSlice]:
        if row in self.rejected:
            raise BadSample(self.rejected[row])
        return self.fields.arrays(StoredRow(self.manifest, self.reader, row), request)
