"""Files that a scan reads: those of a folder are there, those of a URL are fetched when they are asked for.

A scan of a URL looks at a tree of empty files of the right names, sizes and times (`source_mirror.py`). Whoever reads what is
in a file asks for it here first; a file of a folder is as it was.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

AT_ONCE = 64  # files fetched side by side

_fetch: ContextVar[Callable[[Sequence[Path]], bool] | None] = ContextVar("fetch", default=None)


def bring(*paths: Path) -> bool:
    """Have the content of files, and of all files below folders, until more is asked for; whether any had to be fetched.

    Raises StoreError where a store does not answer, Trouble where there is not so much room.
    """
    fetch = _fetch.get()
    return fetch is not None and fetch(paths)


def brought(paths: Sequence[Path]) -> Iterator[Path]:
    """The paths, each with its content while it is at hand; many are fetched side by side."""
    for begin in range(0, len(paths), AT_ONCE):
        some = paths[begin : begin + AT_ONCE]
        bring(*some)
        yield from some


@contextmanager
def fetching(fetch: Callable[[Sequence[Path]], bool]) -> Iterator[None]:
    """Within it, `bring` calls this."""
    before = _fetch.set(fetch)
    try:
        yield
    finally:
        _fetch.reset(before)
