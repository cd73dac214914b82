"""A folder at a URL as a local tree of empty files of the same names, sizes and times; content comes when it is asked for."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath

from tarpon.shards.quarantine import Fault, Trouble
from tarpon.shards.side_by_side import call_each
from tarpon.shards.store import NotThere, Store, StoreError

AT_ONCE = 8  # downloads at a time
CHANGED = ("LastModified", "Last-Modified", "updated", "mtime", "created")  # what stores call the time of the last change
TAGS = ("ETag", "etag", "md5Hash")  # what they call a checksum, or a number of the version


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """One file of a store, as it was listed."""

    root: str  # URL of the folder
    name: str  # in it
    size: int
    changed_ns: int  # 0: not told
    tag: str  # "": not told

    def place(self, base: Path) -> Path:
        """Where it lies below a local folder."""
        return place_url(f"{self.root}/{self.name}", base)


def place_url(url: str, base: Path) -> Path:
    """The local path of a URL below a folder: BASE/s3/bucket/folder/name of s3://bucket/folder/name."""
    scheme, _, rest = url.partition("://")
    return base / scheme / rest


def fetch_file(file: RemoteFile, store: Store, to: Path) -> None:
    """Download over `to`, with the time it was changed.

    Raises:
        NotThere: it is gone; StoreError: the store does not answer, or the file is not as long as it was listed.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    draft = to.with_name(f".{hashlib.sha256(to.name.encode()).hexdigest()[:16]}.draft")
    for last in (False, True):
        store.fetch(file.name, draft)
        if (size := draft.stat().st_size) == file.size:
            break
        if last:
            raise StoreError(
                f"{file.root}/{file.name}: {size} bytes came, {file.size} were listed: it is being changed; run the same "
                f"command when it is not"
            )
    os.utime(draft, ns=(file.changed_ns, file.changed_ns))
    os.replace(draft, to)


def fetch_files(files: Sequence[RemoteFile], base: Path, *, stores: Mapping[str, Store]) -> list[RemoteFile]:
    """Download all to their places below a folder, some at a time; returns those that are gone. StoreError as `fetch_file`."""

    def fetch(file: RemoteFile) -> bool:
        try:
            fetch_file(file, stores[file.root], file.place(base))
        except NotThere:
            return False
        return True

    there = call_each(fetch, files, threads=AT_ONCE)
    return [file for file, is_there in zip(files, there, strict=True) if not is_there]


class Mirror:
    """The local tree.

    Args:
        base: an empty folder. bound: bytes of content that it may hold; what was asked for longest ago is emptied first.
    """

    def __init__(self, base: Path, *, bound: int) -> None:
        self._base, self._bound = base, bound
        self._files: dict[str, RemoteFile] = {}  # by local path
        self._held: OrderedDict[str, None] = OrderedDict()  # with their content, the longest unused first
        self._stores: dict[str, Store] = {}
        self.faults: list[Fault] = []  # names that no folder could hold

    def add_folder(self, url: str) -> Path:
        """List a URL; returns its local folder. ValueError where nothing is there, StoreError where no store answers."""
        root = url.rstrip("/")
        store = self._stores[root] = Store(root)
        listed = store.list_tree()
        if not listed:
            raise ValueError(f"{root}: no such folder, or nothing in it")
        folders = {str(parent) for name in listed for parent in PurePosixPath(name).parents}
        for name, told in sorted(listed.items()):
            if not name or name.endswith("/") or told.get("type") == "directory":  # an object store's mark of a folder
                continue
            if name in folders or any(part in ("", ".", "..") for part in name.split("/")):
                self.faults.append(Fault(file=name, reason="no folder could hold a file of this name; rename it"))
                continue
            file = RemoteFile(root=root, name=name, size=int(told["size"]), changed_ns=_find_time(told), tag=_find_tag(told))
            self._files[str(file.place(self._base))] = file
            self._empty(file)
        return place_url(root, self._base)

    def add_file(self, url: str) -> Path:
        """Fetch one file at once; returns its local path. ValueError where it is not there."""
        path, (root, _, name) = place_url(url, self._base), url.rpartition("/")
        if str(path) in self._files:
            self.bring([path])
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            Store(root).fetch(name, path)
        except NotThere as error:
            raise ValueError(str(error)) from error
        return path

    def bring(self, paths: Sequence[Path]) -> bool:
        """As `source_files.bring`."""
        asked = list(self._listed(paths))
        wanted = [path for path in asked if path not in self._held]
        need, size = (sum(self._files[path].size for path in some) for some in (wanted, asked))
        if size > self._bound:
            first = self._files[asked[0]]
            raise Trouble(
                f"{first.root}/{first.name}: {size} bytes to look at, the scratch folder may hold {self._bound}; give more "
                f"(--scratch_bytes)"
            )
        self._make_room(need, kept=set(asked))
        for file in fetch_files([self._files[path] for path in wanted], self._base, stores=self._stores):
            path = file.place(self._base)  # whoever reads it next finds none, as in a folder
            path.unlink()
            del self._files[str(path)]
            asked.remove(str(path))
        for path in asked:
            self._held[path] = None
            self._held.move_to_end(path)
        return bool(asked)

    def files(self, paths: Iterable[Path]) -> tuple[RemoteFile, ...]:
        """What these paths, and all below those that are folders, are in their stores; local ones are left out."""
        return tuple(self._files[path] for path in self._listed(paths))

    def _listed(self, paths: Iterable[Path]) -> Iterable[str]:
        for path in paths:
            below = sorted(path.rglob("*")) if path.is_dir() and path.is_relative_to(self._base) else [path]
            yield from (str(one) for one in below if str(one) in self._files)

    def _make_room(self, need: int, *, kept: Collection[str]) -> None:
        held = sum(self._files[path].size for path in self._held)
        for path in list(self._held):
            if held + need <= self._bound:
                return
            if path not in kept:
                del self._held[path]
                held -= self._files[path].size
                self._empty(self._files[path])

    def _empty(self, file: RemoteFile) -> None:
        """A file of zeros that takes no room, in place of the content."""
        path = file.place(self._base)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with open(path, "wb") as empty:
            empty.truncate(file.size)
        os.utime(path, ns=(file.changed_ns, file.changed_ns))


def _find_time(told: Mapping[str, object]) -> int:
    """Nanoseconds since 1970 of the last change; 0 where the store does not tell."""
    value = next((told[name] for name in CHANGED if told.get(name)), 0)
    if isinstance(value, str):
        with suppress(ValueError):
            value = parsedate_to_datetime(value)
    if isinstance(value, str):
        with suppress(ValueError):
            value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return round(value * 1e6) * 1000 if isinstance(value, int | float) else 0


def _find_tag(told: Mapping[str, object]) -> str:
    return str(next((told[name] for name in TAGS if told.get(name)), ""))
