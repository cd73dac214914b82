"""Keeps delivered batches alive until the device has finished the work queued on them.

DALI owns the memory of a delivered tensor and reuses it on its own stream once the last reference is gone: Python drops a batch
when the host has queued its work, which may be long before the GPU has read it.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import torch


class Event(Protocol):
    """The used methods of torch.cuda.Event."""

    def query(self) -> bool: ...

    def synchronize(self) -> None: ...


class OutputHold:
    """Holds used batches, in order, until the event recorded after their use has completed.

    A user of a batch after the next one was requested must hold a reference until the device is done, or clone it.

    Args:
        record: records an event after all work queued so far; None: a CPU, where nothing is queued.
        limit: most batches held; one more waits for the oldest, so that a host far ahead does not fill the memory.
    """

    def __init__(self, record: Callable[[], Event] | None, *, limit: int) -> None:
        self._record, self._limit = record, limit
        self._held: deque[tuple[Event, Any]] = deque()

    def __len__(self) -> int:
        return len(self._held)

    def hand_back(self, outputs: Any) -> None:
        """Take outputs back from their user, who has queued all work that reads them."""
        if self._record is None:
            return
        self._held.append((self._record(), outputs))
        while self._held and self._held[0][0].query():
            self._held.popleft()
        while len(self._held) > self._limit:
            self._held[0][0].synchronize()
            self._held.popleft()


def record_on_current_stream(device: int) -> Callable[[], Event]:
    """Records an event on the stream that torch uses when it is called."""

    def record() -> Event:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        return event

    return record
