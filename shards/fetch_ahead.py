"""Fetches the tars of a remote data set before they are read: what is read next is known, for the order is a plan's."""

import contextlib
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from tarpon.shards.manifest import Manifest
from tarpon.shards.reader import Reader
from tarpon.shards.tar_cache import TarCache

Batch = TypeVar("Batch")

THREADS = 2  # downloads at once, beside those that a reader waits for


class FetchAhead:
    """Looks ahead in a stream of batches and fetches their tars, as many as the cache holds beside those in use.

    Args:
        parts: the data sets whose rows are numbered one after another, with their readers.
    """

    def __init__(self, parts: Sequence[tuple[Manifest, Reader]]) -> None:
        self._tars: list[tuple[TarCache, str]] = []
        self._parts = list(self._number(parts))
        self._bound = min((cache.bound for cache, _ in self._tars), default=0)
        self._asked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def stream(self, batches: Iterable[Batch], rows_of: Callable[[Batch], np.ndarray], *, most: int) -> Iterator[Batch]:
        """The batches as they are.

        Args:
            rows_of: (B,) rows of a batch, negative ones are none.
            most: batches looked ahead; fewer where the tars of these fill the cache.
        """
        if not self._tars:
            yield from batches
            return
        waiting: deque[tuple[Batch, list[int]]] = deque()
        uses: Counter[int] = Counter()  # tar -> waiting batches that read it
        held, source, ended = 0, iter(batches), False
        while True:
            while not ended and len(waiting) < most and held <= self._bound:
                try:
                    batch = next(source)
                except StopIteration:
                    ended = True
                    break
                tars = self._tars_of(rows_of(batch))
                for tar in tars:
                    if not uses[tar]:
                        held += self._size(tar)
                        if held <= self._bound:
                            self._ask(tar)
                    uses[tar] += 1
                waiting.append((batch, tars))
            if not waiting:
                return
            batch, tars = waiting.popleft()
            for tar in tars:
                uses[tar] -= 1
                held -= 0 if uses[tar] else self._size(tar)
            yield batch

    def _number(self, parts: Sequence[tuple[Manifest, Reader]]) -> Iterator[tuple[int, int, int, Manifest]]:
        """First row, the one after the last and first number in `_tars` of each remote part, with its manifest."""
        begin = 0
        for manifest, reader in parts:
            if reader.tars is not None:
                yield begin, begin + len(manifest), len(self._tars), manifest
                self._tars += [(reader.tars, name) for name in manifest.tars]
            begin += len(manifest)

    def _tars_of(self, rows: np.ndarray) -> list[int]:
        found: set[int] = set()
        for begin, end, first, manifest in self._parts:
            own = rows[(rows >= begin) & (rows < end)] - begin
            found.update((first + np.unique(manifest.tar_numbers(own))).tolist())
        return sorted(found)

    def _size(self, tar: int) -> int:
        cache, name = self._tars[tar]
        return cache.size_of(name)

    def _ask(self, tar: int) -> None:
        if not self._threads:  # daemons: the end of a run does not wait for tars that nobody will read
            self._threads = [threading.Thread(target=self._work, name="fetch", daemon=True) for _ in range(THREADS)]
            for thread in self._threads:
                thread.start()
        self._asked.put(tar)

    def _work(self) -> None:
        while True:
            cache, name = self._tars[self._asked.get()]
            with contextlib.suppress(OSError, ValueError):  # who reads the tar tries again, and tells
                cache.keep(name)
