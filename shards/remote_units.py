"""Packs what lies at URLs: a scan of local names, and units whose files are fetched by the process that packs them.

A unit names its files by URL. Who makes samples of it fetches them and makes them of the copies; what is wrong with one is
told of the URL.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pyarrow as pa

from tarpon.shards.fetched_units import RemoteUnit, fetched_ahead, make_fetched
from tarpon.shards.scratch import Scratch, open_scratch
from tarpon.shards.source import Scan, Source, Unit
from tarpon.shards.source_files import fetching
from tarpon.shards.source_mirror import Mirror
from tarpon.shards.store import is_url
from tarpon.shards.url_texts import change_texts, errors_told, to_url
from tarpon.shards.writer import Make

Place = Path | str  # a path, or a URL


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """What a scan found."""

    source: Source  # with which to pack it
    found: Scan
    lines: tuple[str, ...] = ()  # what `look` tells of it


def scan_places(
    source: Source,
    places: Sequence[Place | None],
    options: object,
    *,
    listing: Mapping[str, object],
    scratch: Scratch,
    workers: int,
    look: Callable[[Scan], Iterable[str]] = lambda found: (),
) -> Listing:
    """`source.scan` of folders and URLs.

    Args:
        places: what it lists, in its order. listing: its keyword arguments; text that is a URL is one file.
        scratch: for fetched files; each of `workers` processes gets its share of the bytes.
        look: called with what was found while its files can be read (see `source_files`).

    Raises:
        ValueError: as the scan, and where a unit's files do not fit; StoreError: a store does not answer.
    """
    urls = [place for place in places if isinstance(place, str)]
    single = {name: value for name, value in listing.items() if isinstance(value, str) and is_url(value)}
    if not urls and not single:
        found = source.scan(*places, options, **listing)
        return Listing(source=source, found=found, lines=tuple(look(found)))
    roots = tuple(_tidy(url) for url in [*urls, *single.values()])
    with open_scratch(scratch) as base:
        mirror = Mirror(base, bound=scratch.size)
        told = partial(to_url, roots=roots, base=base)
        with errors_told(told):
            folders = [mirror.add_folder(place) if isinstance(place, str) else place for place in places]
            with fetching(mirror.bring):
                files = {name: mirror.add_file(url) for name, url in single.items()}
                found = source.scan(*folders, options, **{**listing, **files})
                lines = tuple(map(told, look(found)))
            share = replace(scratch, size=max(scratch.size // workers, 1))
            units = [_wrap(unit, mirror, source.make, roots=roots, scratch=share, told=told) for unit in found.units]
        plain = _with(found, units=[unit.unit for unit in units], faults=[*mirror.faults, *found.faults])
        plain = _with(plain, **{name: change_texts(getattr(plain, name), told) for name in _names(plain) if name != "units"})
    inputs = [_without_password(root) for root in roots]
    describe = partial(_describe, source.describe, plain, inputs)
    source = replace(source, make=make_fetched, ready=fetched_ahead, describe=describe)
    return Listing(source=source, found=_with(plain, units=units), lines=lines)


@contextmanager
def open_file(place: str, *, scratch: Scratch) -> Iterator[Path]:
    """A file by path or URL as a local one, until the end of the context; what is wrong with it is told of the URL.

    Raises:
        ValueError: there is no such file at the URL; StoreError: a store does not answer.
    """
    if not is_url(place):
        yield Path(place)
        return
    with open_scratch(scratch) as base, errors_told(partial(to_url, roots=[place], base=base)):
        yield Mirror(base, bound=0).add_file(place)


def _wrap(
    unit: Unit, mirror: Mirror, make: Make, *, roots: tuple[str, ...], scratch: Scratch, told: Callable[[str], str]
) -> RemoteUnit:
    if not hasattr(unit, "reads"):
        raise ValueError(f"{roots[0]}: data of this kind are packed from folders only; copy it to one")
    files = mirror.files(unit.reads())
    if (size := sum(file.size for file in files)) > scratch.size:
        raise ValueError(
            f"{unit.name()}: {size} bytes, and each process may fetch {scratch.size}; give more --scratch_bytes or fewer "
            f"--workers"
        )
    stamp = hashlib.sha256(json.dumps([unit.fingerprint(), [file.tag for file in files]]).encode()).hexdigest()
    return RemoteUnit(
        unit=change_texts(unit, told), files=files, roots=roots, make=make, scratch=scratch, stamp=stamp,
    )  # fmt: skip


def _describe(
    describe: Callable[..., dict], plain: Scan, inputs: list[str], rows: pa.Table, *, found: Scan, options: object
) -> dict:
    """The source's own entries, of its own units, and where they lay."""
    return describe(rows, found=plain, options=options) | {"inputs": inputs}


def _names(found: Scan) -> tuple[str, ...]:
    return found._fields if isinstance(found, tuple) else tuple(field.name for field in fields(found))


def _with(found: Scan, **changed: object) -> Scan:
    return found._replace(**changed) if isinstance(found, tuple) else replace(found, **changed)


def _tidy(url: str) -> str:
    """The URL as a local path gives it back: without double and last slashes."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{PurePosixPath(rest)}"


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
