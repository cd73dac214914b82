"""Reads the components of rows by their offsets in tars.

Local tars are read with pread, which needs no lock and no seek; remote ones (any fsspec URL) through a bounded cache on this
machine.
"""

import hashlib
import os
import threading
from collections import OrderedDict
from pathlib import Path

from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import BadSample, Fault
from tarpon.shards.store import NotThere, Store, StoreError, is_url
from tarpon.shards.tar_cache import TarCache

OPEN_TARS = 256  # file descriptors kept; the usual limit of a process is 1024


class Reader:
    """Reads components of a manifest's rows; safe to share between threads.

    Args:
        manifest: the data set; where its root is a URL, with a cache.
        verify: check the SHA-256 of each component at its first read since its tar was opened (0.7 ms a megabyte of one core);
            sizes are always checked.
        always: check it at every read.

    Raises:
        ValueError: the root is a URL and the manifest names no cache.
    """

    def __init__(self, manifest: Manifest, *, verify: bool = True, always: bool = False) -> None:
        self.manifest, self.verify, self._always = manifest, verify, always
        self.tars = None  # local
        if is_url(manifest.root):
            if manifest.cache is None:
                raise ValueError(
                    f"{manifest.root} is remote: give a local folder for fetched tars (--cache FOLDER, in training "
                    f"--loader.cache FOLDER)"
                )
            store = manifest.store or Store(manifest.root)
            self.tars = TarCache(store, manifest.cache, sums=manifest.tar_sums(), identity=manifest.identity)
        self._files: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._openings: dict[str, int] = {}  # local tar -> how often it was opened, 1 to 255 and again
        self._verified: dict[str, bytearray] = {}  # component -> for each row the opening in which it was found right, 0: none
        self._again = threading.Lock()
        self._fetched_again: set[str] = set()  # tars that were dropped once for bytes that are not those that were packed

    def read(self, row: int, column: str) -> bytes:
        """Content of one component of a row; empty where the sample has none.

        Raises:
            BadSample: the tar is missing or truncated, or its bytes are not those that were packed.
                A remote tar that is not what was packed is fetched once more before.
            StoreError: a remote store does not answer; no sample is bad for that.
            ValueError: the cache of remote tars is too small for one of them.
        """
        size = self.manifest.value(row, f"{column}_size")
        if not size:
            return b""
        shard = self.manifest.value(row, "shard")
        try:
            return self._read_sound(row, column, shard, size)
        except BadSample as error:
            if self.tars is None or isinstance(error.__cause__, NotThere):
                raise
        with self._again:  # by one thread for all, and once: what is damaged in the store would be fetched for each sample
            if shard not in self._fetched_again:
                self._fetched_again.add(shard)
                self.tars.drop(shard)
            return self._read_sound(row, column, shard, size)

    def _read_sound(self, row: int, column: str, shard: str, size: int) -> bytes:
        """The bytes that were packed; BadSample where they are others."""
        offset, where = self.manifest.value(row, f"{column}_offset"), f"{shard}:{self.manifest.value(row, 'key')}"
        try:
            content = self._read_at(shard, size, offset)
        except NotThere as error:
            raise BadSample(Fault(file=where, reason=f"{column}: cannot read {shard} ({error})", offset=offset)) from error
        except StoreError:
            raise
        except OSError as error:
            if self.tars is not None:
                raise  # of the disk that holds the cache
            raise BadSample(Fault(file=where, reason=f"{column}: cannot read {shard} ({error})", offset=offset)) from error
        if len(content) != size:
            raise BadSample(
                Fault(file=where, offset=offset, reason=f"{column}: {len(content)} of {size} bytes; the tar is cut short")
            )
        sound = self._verified.setdefault(column, bytearray(len(self.manifest)))
        opening = self._openings.get(shard, 1)
        if self.verify and (self._always or sound[row] != opening):
            if hashlib.sha256(content).hexdigest() != self.manifest.value(row, f"{column}_sha256"):
                raise BadSample(Fault(file=where, reason=f"{column}: checksum differs from the manifest", offset=offset))
            sound[row] = opening
        return content

    def close(self) -> None:
        """Close all tars."""
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def _read_at(self, shard: str, size: int, offset: int) -> bytes:
        if self.tars is not None:
            return self.tars.read(shard, size, offset)
        with self._lock:
            if shard not in self._files:
                self._files[shard] = os.open(Path(self.manifest.root) / shard, os.O_RDONLY)
                self._openings[shard] = self._openings.get(shard, 0) % 255 + 1
                while len(self._files) > OPEN_TARS:
                    os.close(self._files.popitem(last=False)[1])
            self._files.move_to_end(shard)
            descriptor = os.dup(self._files[shard])  # ours stays open when another thread evicts the tar
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)
