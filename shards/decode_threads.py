"""How many threads a process decodes source video on: all cores where it packs alone, one where processes are the parallelism.

The frames are the same on any number.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_single: ContextVar[bool] = ContextVar("single", default=False)


def is_single() -> bool:
    """Whether one thread is meant."""
    return _single.get()


@contextmanager
def decoding_on_one_thread(single: bool) -> Iterator[None]:
    """Within it, on this thread; False changes nothing."""
    before = _single.set(single or _single.get())
    try:
        yield
    finally:
        _single.reset(before)
