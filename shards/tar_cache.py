"""Tars of a remote data set, kept on this machine: fetched once a node, bounded, shared by any number of processes.

A tar is opened, read and closed again at every read (some 10 us), so none stays on the disk after it was removed, and the
bound counts all there is: tars and drafts. A draft's name says how large it will become.
"""

import fcntl
import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tarpon.shards.store import Store

FOLDER = "tarpon-tars"  # in the folder that the user gives: nothing outside of it is touched
KEPT = re.compile(r"[\w.-]+-[0-9a-f]{32}\.tar")
DRAFT = re.compile(r"\.[\w.-]+-[0-9a-f]{32}\.tar\.(\d+)\.[\w.-]+\.draft")
LOCKS = 64  # lock files; two tars of one lock wait for each other, which costs time alone
TOUCH_S = 1.0  # a tar's time of use is written no oftener
SILENT_S = 600.0  # a draft that is being written grows or is given up before
POLL_S = 0.1  # between looks for room that others' drafts take
CACHE_BYTES = 64 * 2**30


@dataclass(frozen=True, kw_only=True)
class TarSum:
    """What a tar was when it was packed."""

    size: int  # bytes; without a checksum: so many at least
    sha256: str = ""  # "": of data that were packed before tars had one


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Where fetched tars are kept, and how many bytes of them at most."""

    folder: Path
    size: int = CACHE_BYTES

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"cache_bytes={self.size} must be above 0")

    @classmethod
    def of(cls, folder: str | None, size: int) -> "Cache | None":
        """The two options of a command as one; None without a folder."""
        return cls(folder=Path(folder), size=size) if folder else None


class TarCache:
    """The cached tars of one data set; safe between threads and processes.

    Args:
        store: where the tars lie.
        sums: of each tar, by name.
        identity: of the data set; a tar without a checksum is another where this differs.

    Every method raises NotThere where the store has no such tar, StoreError where it does not answer, ValueError where the
    cache cannot hold the tar.
    """

    def __init__(self, store: Store, cache: Cache, *, sums: Mapping[str, TarSum], identity: str) -> None:
        self._store, self.bound, self._identity = store, cache.size, identity
        self._sums = dict(sums)
        self._folder = cache.folder / FOLDER
        self._paths: dict[str, Path] = {}  # by name: made once, for a path is asked for at every read
        self._touched: dict[str, float] = {}
        self._drafts, self._lock = 0, threading.Lock()
        self.fetched = 0  # downloads of this process

    def read(self, name: str, size: int, offset: int) -> bytes:
        """Bytes of a tar, which is fetched where it is not kept."""
        with self.opened(name) as tar:
            return os.pread(tar, size, offset)

    def keep(self, name: str) -> None:
        """Fetch a tar before it is read; trouble of the network is raised at once."""
        with self.opened(name, once=True):
            pass

    @contextmanager
    def opened(self, name: str, *, once: bool = False) -> Iterator[int]:
        """Descriptor of a tar, kept or fetched; `once`: without a second try where the network fails."""
        held = self._open(self._path(name))
        if held is None:
            held = self._fetch(name, once=once)
        try:
            yield held
        finally:
            os.close(held)

    def size_of(self, name: str) -> int:
        """Bytes of a tar, or so many at least."""
        return self._told(name).size

    def _told(self, name: str) -> TarSum:
        return self._sums.get(name, TarSum(size=0))  # one that the manifest does not name: lint looks at it

    def drop(self, name: str) -> None:
        """Forget a tar whose bytes are not those that were packed: the next read fetches it again."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        path = self._paths.get(name)
        if path is None:
            path = self._paths[name] = self._make_path(name)
        return path

    def _make_path(self, name: str) -> Path:
        words = "\0".join((self._store.root, name, self._told(name).sha256 or self._identity))
        return self._folder / f"{Path(name).stem}-{hashlib.sha256(words.encode()).hexdigest()[:32]}.tar"

    def _open(self, path: Path) -> int | None:
        try:
            held = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        now = time.monotonic()
        if now - self._touched.get(path.name, 0.0) > TOUCH_S:
            self._touched[path.name] = now
            with suppress(PermissionError):  # another user's, in a folder that several share
                os.utime(held)
        return held

    def _fetch(self, name: str, *, once: bool) -> int:
        """Descriptor of the tar; of several processes and threads that come here for it one downloads."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path, told = self._path(name), self._told(name)
        if told.size > self.bound:
            raise ValueError(f"{name} takes {told.size} bytes, the cache may hold {self.bound}; give more (cache_bytes)")
        with hold_lock(self._folder / f".lock-{int(path.stem[-2:], 16) % LOCKS:02d}"):
            if (held := self._open(path)) is not None:
                return held
            for last in (False, True):
                if (held := self._download(name, told, last=last, once=once)) is not None:
                    return held
        raise AssertionError("the last download is always given back")

    def _download(self, name: str, told: TarSum, *, last: bool, once: bool) -> int | None:
        """Descriptor of a download; None where it is not what was packed and another may be.

        Of the last one that is not, each sample's own checksum decides: this process takes it for what the store holds, under
        a name of its own content, so that nobody takes it for what was packed.
        """
        with self._draft(self._path(name), told.size) as draft:
            self._store.fetch(name, draft, once=once)
            with self._lock:
                self.fetched += 1
            found = TarSum(size=draft.stat().st_size, sha256=_hash_file(draft)) if told.sha256 else told
            if found != told:
                if not last:
                    return None
                self._sums[name] = found
                self._paths.pop(name, None)
            held = os.open(draft, os.O_RDONLY)
            os.replace(draft, self._path(name))
            return held

    @contextmanager
    def _draft(self, path: Path, need: int) -> Iterator[Path]:
        """A locked file for `need` bytes, once there is room for it; removed at the end where it is still there."""
        with self._lock:
            self._drafts += 1
        maker = f"{re.sub(r'[^A-Za-z0-9-]', '-', socket.gethostname())}-{os.getpid()}-{self._drafts}"
        draft = path.with_name(f".{path.name}.{need}.{maker}.draft")
        while (held := self._reserve(draft, need)) is None:
            time.sleep(POLL_S)
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)
            os.close(held)

    def _reserve(self, draft: Path, need: int) -> int | None:
        """The draft's locked descriptor; None while living drafts take the room. Least recently used tars are removed first."""
        with hold_lock(self._folder / ".lock-bound"):
            tars, total = [], need
            for path in self._folder.iterdir():
                try:
                    found = path.stat()
                    if KEPT.fullmatch(path.name):
                        tars.append((found.st_mtime, found.st_size, path))
                        total += found.st_size
                    elif (told := DRAFT.fullmatch(path.name)) and not _remove_if_dead(path):
                        total += max(int(told[1]), found.st_size)
                except FileNotFoundError:  # finished or given up this moment
                    continue
            for _, size, path in sorted(tars):
                if total <= self.bound:
                    break
                path.unlink(missing_ok=True)
                total -= size
            if total > self.bound:
                return None
            held = os.open(draft, os.O_RDWR | os.O_CREAT, 0o666)
            _lock(held, fcntl.LOCK_EX)
            return held


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Alone among threads and processes; not where the file system knows no locks, which costs a second download at most."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _lock(file: int, kind: int) -> bool:
    """Whether the lock was taken; BlockingIOError where another has it."""
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _remove_if_dead(draft: Path) -> bool:
    """Remove a draft whose process has ended: its lock is free, or where there are no locks it has not grown for long."""
    file = os.open(draft, os.O_RDWR)
    try:
        if not _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB) and time.time() - draft.stat().st_mtime < SILENT_S:
            return False
        draft.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(file)


def _hash_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
