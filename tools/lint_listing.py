"""What `tarpon lint` checks as a whole: a data set with the contents of its tars, read header by header."""

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from tarpon.shards.manifest import Manifest
from tarpon.shards.reader import Reader
from tarpon.shards.schema import Schema
from tarpon.shards.store import NotThere, Store


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """A data set with the contents of its tars."""

    manifest: Manifest
    schema: Schema
    store: Store  # where it lies
    tars: dict[str, list[tarfile.TarInfo]]  # tar name -> members in order; what could not be listed is left out
    broken: dict[str, str]  # tar name -> why it could not be listed to its end
    missing: frozenset[str]  # those of them that are not there at all


def list_tars(manifest: Manifest, schema: Schema) -> Listing:
    """Every tar that the manifest names or the store lists."""
    store = manifest.store or Store(manifest.root)
    stored = [name for name in store.list_names() or () if name.endswith(".tar")]
    tars, broken, missing, reader = {}, {}, set(), Reader(manifest)
    for name in sorted({*manifest.table["shard"].to_pylist(), *stored}):
        try:
            with _open_tar(reader, name, store) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                tars[name] = list(tar)
        except NotThere:
            broken[name] = "is in the manifest but not in the folder"
            missing.add(name)
        except tarfile.TarError as error:
            broken[name] = f"is not a readable tar ({error})"
    return Listing(manifest=manifest, schema=schema, store=store, tars=tars, broken=broken, missing=frozenset(missing))


@contextmanager
def _open_tar(reader: Reader, name: str, store: Store) -> Iterator[BinaryIO]:
    """A tar, of a remote store by way of the cache; NotThere where there is none."""
    if reader.tars is not None:
        with reader.tars.opened(name) as held, os.fdopen(os.dup(held), "rb") as stream:
            stream.seek(0)
            yield stream
        return
    if not (store.folder / name).is_file():
        raise NotThere(name)
    with open(store.folder / name, "rb") as stream:
        yield stream
