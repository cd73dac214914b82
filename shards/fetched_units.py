"""Units of a URL: who makes samples of them fetches their files into a folder of its own, and removes them then.

While samples are made of one unit the files of the next are fetched.
"""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tarpon.shards.quarantine import Fault, contain
from tarpon.shards.schema import Sample
from tarpon.shards.scratch import Scratch, open_scratch
from tarpon.shards.source import Unit
from tarpon.shards.source_mirror import RemoteFile, fetch_files
from tarpon.shards.store import Store
from tarpon.shards.url_texts import change_texts, to_path, to_url
from tarpon.shards.writer import Make


@dataclass(frozen=True, kw_only=True, eq=False)
class RemoteUnit:
    """A source's unit whose paths are URLs, with the files to fetch for it."""

    unit: Unit
    files: tuple[RemoteFile, ...]
    roots: tuple[str, ...]  # the URLs that were scanned
    make: Make  # of the source
    scratch: Scratch
    stamp: str  # the unit's fingerprint, and the stores' tags of its files
    base: Path | None = None  # the folder that its files were fetched into; None: they were not

    def name(self) -> str:
        return self.unit.name()

    def fingerprint(self) -> str:
        return self.stamp

    def size(self) -> int:
        return self.unit.size()


def make_fetched(unit: RemoteUnit) -> Iterator[Sample | Fault]:
    """The unit's samples and faults, made of fetched files. StoreError where a store does not answer: of no sample."""
    if unit.base is None:
        with fetched_ahead([unit]) as units:
            for fetched in units:
                yield from make_fetched(fetched)
        return
    inner = change_texts(unit.unit, partial(to_path, roots=unit.roots, base=unit.base))
    for item in contain(unit.name(), unit.make(inner)):
        yield change_texts(item, partial(to_url, roots=unit.roots, base=unit.base)) if isinstance(item, Fault) else item


@contextmanager
def fetched_ahead(units: Sequence[RemoteUnit]) -> Iterator[Iterator[RemoteUnit]]:
    """The units in order, each with its files, which are gone when the next is asked for.

    While a unit is in use the files of the next are fetched, where the scratch folder has room for both. What goes wrong
    with them is raised when that unit is asked for: StoreError where a store does not answer. At the end, however it comes,
    what is still being fetched is given up and all files are removed.
    """
    stop = threading.Event()
    with open_scratch(units[0].scratch) as folder, ThreadPoolExecutor(1, "fetch unit") as thread:
        try:
            yield _in_turn(units, folder, partial(thread.submit, _fetch, stop=stop))
        finally:
            stop.set()  # the thread ends before the folder is removed: what it wrote afterwards would stay


def _in_turn(
    units: Sequence[RemoteUnit], folder: Path, begin: Callable[[RemoteUnit, Path], Future[RemoteUnit]]
) -> Iterator[RemoteUnit]:
    ahead: Future[RemoteUnit] | None = None
    for number, unit in enumerate(units):
        base = folder / str(number)
        fetched = (ahead or begin(unit, base)).result()
        following, ahead = units[number + 1 : number + 2], None
        if following and _count_bytes(unit, *following) <= unit.scratch.size:
            ahead = begin(following[0], folder / str(number + 1))
        yield fetched
        shutil.rmtree(base, ignore_errors=True)


def _count_bytes(*units: RemoteUnit) -> int:
    return sum(file.size for unit in units for file in unit.files)


def _fetch(unit: RemoteUnit, base: Path, *, stop: threading.Event) -> RemoteUnit:
    """The unit with its files below `base`."""
    fetch_files(unit.files, base, stores={root: Store(root, stop=stop) for root in {file.root for file in unit.files}})
    return replace(unit, base=base)
