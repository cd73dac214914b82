"""Reads the components of rows by their offsets in tars.

Local tars are read with pread, which needs no lock and no seek; remote ones (any fsspec URL) are first fetched into a bounded
local cache.
"""

import hashlib
import os
import threading
from collections import OrderedDict
from pathlib import Path

import fsspec

from tarpon.shards import atomic
from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import BadSample, Fault

OPEN_TARS = 256  # file descriptors kept; the usual limit of a process is 1024


class Reader:
    """Reads components of a manifest's rows; safe to share between threads.

    Args:
        manifest: the data set.
        cache: folder for remote tars; needed only where the manifest's root is a URL.
        cache_bytes: size limit of the cache; the least recently used tar is removed first.
        verify: check the SHA-256 of each component at its first read (0.7 ms a megabyte of one core); sizes are always checked.

    Raises:
        ValueError: the root is a URL and no cache is given.
    """

    def __init__(
        self, manifest: Manifest, *, cache: Path | None = None, cache_bytes: int = 64 * 2**30, verify: bool = True
    ) -> None:
        self.manifest, self.verify = manifest, verify
        self._remote = "://" in manifest.root
        if self._remote and cache is None:
            raise ValueError(f"{manifest.root} is remote: give a local folder for fetched tars (--loader.cache)")
        self._cache, self._cache_bytes = cache, cache_bytes
        self._files: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._verified: dict[str, bytearray] = {}  # component -> a flag per row: its checksum was found right

    def read(self, row: int, column: str) -> bytes:
        """Content of one component of a row; empty where the sample has none.

        Raises:
            BadSample: the tar is missing or truncated, or its bytes are not those that were packed.
        """
        manifest = self.manifest
        size = manifest.value(row, f"{column}_size")
        if not size:
            return b""
        shard, offset = manifest.value(row, "shard"), manifest.value(row, f"{column}_offset")
        where = f"{shard}:{manifest.value(row, 'key')}"
        try:
            content = self._read_at(shard, size, offset)
        except OSError as error:
            raise BadSample(Fault(file=where, reason=f"{column}: cannot read {shard} ({error})", offset=offset)) from error
        if len(content) != size:
            raise BadSample(
                Fault(file=where, offset=offset, reason=f"{column}: {len(content)} of {size} bytes; the tar is cut short")
            )
        sound = self._verified.setdefault(column, bytearray(len(manifest)))
        if self.verify and not sound[row]:
            if hashlib.sha256(content).hexdigest() != manifest.value(row, f"{column}_sha256"):
                raise BadSample(Fault(file=where, reason=f"{column}: checksum differs from the manifest", offset=offset))
            sound[row] = True
        return content

    def close(self) -> None:
        """Close all tars."""
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def _read_at(self, shard: str, size: int, offset: int) -> bytes:
        with self._lock:
            if shard not in self._files:
                path = self._fetch(shard) if self._remote else Path(self.manifest.root) / shard
                self._files[shard] = os.open(path, os.O_RDONLY)
                while len(self._files) > OPEN_TARS:
                    os.close(self._files.popitem(last=False)[1])
            self._files.move_to_end(shard)
            descriptor = os.dup(self._files[shard])  # ours stays open when another thread evicts the tar
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def _fetch(self, shard: str) -> Path:
        """The local copy of a remote tar, fetched when absent; removes least recently used ones when the cache is full."""
        self._cache.mkdir(parents=True, exist_ok=True)
        local = self._cache / f"{hashlib.sha256(self.manifest.root.encode()).hexdigest()[:12]}-{shard}"
        if local.exists():
            os.utime(local)  # recently used
            return local
        with (
            fsspec.open(f"{self.manifest.root}/{shard}", "rb") as remote,
            atomic.replace(local) as draft,
            open(draft, "wb") as file,
        ):
            while block := remote.read(8 * 2**20):
                file.write(block)
        kept = sorted(self._cache.glob("*.tar"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in kept)
        for path in kept[:-1]:
            if total <= self._cache_bytes:
                break
            total -= path.stat().st_size
            path.unlink(missing_ok=True)
        return local
