"""Keeps delivered batches alive until the device has done what was queued on them.

DALI owns the memory behind a delivered tensor and takes it back on a stream of its own when the last tensor is gone: Python
lets go of a batch when the host has queued its work, which may be long before the GPU has read it.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import torch


class Event(Protocol):
    """What is asked of torch.cuda.Event."""

    def query(self) -> bool: ...

    def synchronize(self) -> None: ...


class OutputHold:
    """Holds what was handed out, in order, until an event recorded after its use has completed.

    What is used later than the next batch is asked for must be kept by its user until the device is done, or cloned.

    Args:
        record: records an event after all work queued so far; None: work is done when it returns (a CPU).
        limit: batches held at most; one more waits for the oldest, so that a host far ahead does not fill the memory.
    """

    def __init__(self, record: Callable[[], Event] | None, *, limit: int) -> None:
        self._record, self._limit = record, limit
        self._held: deque[tuple[Event, Any]] = deque()

    def __len__(self) -> int:
        return len(self._held)

    def hand_back(self, outputs: Any) -> None:
        """The user of the outputs has queued all that reads them."""
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
