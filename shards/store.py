"""Where packed data lie: a folder, or any URL that fsspec opens. Trouble of the network is told from missing and damaged files.

Every call to a remote store is tried again, with growing pauses, until it works or `retry_s` seconds have passed since the
first failure in a row; what no second try can mend (not there, no access, no backend) is raised at once.
"""

import asyncio
import importlib
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import fsspec

from tarpon.shards import atomic, web_listing
from tarpon.shards.quarantine import Trouble, is_machine_fault

Got = TypeVar("Got")

RETRY_S = 300.0  # a server that is started anew is back within minutes; below what train/alive.py allows a step
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
TOLD_S = 3.0  # after so many seconds without an answer who waits is told that it is tried again
SILENCE_S = 30.0  # without a byte: the connection is given up and made again
PASSING = frozenset({408, 423, 425, 429, *range(500, 600)})  # HTTP answers that a later try may mend
GONE = frozenset({404, 410})


class StoreError(Trouble):
    """A store that gives no answer or refuses one. Of no sample: nothing is quarantined for it."""


class NotThere(StoreError, FileNotFoundError):
    """The store answers, and holds no such file."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What fsspec needs for one kind of URL, and how it fails."""

    package: str
    extra: str  # of setup.cfg
    trouble: tuple[str, ...]  # "module:class" of exceptions that are no OSError
    refusals: tuple[str, ...] = ()  # those of them, or below them, that no second try can mend


_HTTP = Backend(package="aiohttp", extra="http", trouble=("aiohttp:ClientError",), refusals=("aiohttp:InvalidURL",))
_S3 = Backend(
    package="s3fs",
    extra="s3",
    trouble=("botocore.exceptions:BotoCoreError", "botocore.exceptions:ClientError", "aiohttp:ClientError"),
    refusals=("botocore.exceptions:NoCredentialsError", "botocore.exceptions:ParamValidationError"),
)
_GCS = Backend(package="gcsfs", extra="gcs", trouble=("gcsfs.retry:HttpError", "aiohttp:ClientError"))
BACKENDS = {"http": _HTTP, "https": _HTTP, "s3": _S3, "s3a": _S3, "gs": _GCS, "gcs": _GCS}


class Store:
    """The files of one data set, by name.

    Args:
        root: a folder or a URL.
        retry_s: seconds after which a remote store that does not answer is given up; None: RETRY_S.
        stop: when it is set, what another thread waits for here is given up with a StoreError.

    Raises:
        ValueError: the URL is of a kind that nothing here opens; names the extra to install.
    """

    def __init__(self, root: str | Path, *, retry_s: float | None = None, stop: threading.Event | None = None) -> None:
        self.root, self.retry_s = str(root).rstrip("/"), RETRY_S if retry_s is None else retry_s
        self.folder = None if is_url(self.root) else Path(self.root)  # None: remote
        self._stop = stop
        self._files, self._inside, self._trouble, self._refusals = None, "", (OSError, asyncio.TimeoutError), ()
        if self.folder is None:
            self._open()

    def read(self, name: str) -> bytes:
        """A whole file. NotThere where there is none; StoreError where the store does not answer."""
        if self.folder is None:
            return self._attempt(name, lambda: self._files.cat_file(self._path(name)))
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotThere(f"{self.root}/{name}: no such file") from error

    def fetch(self, name: str, to: Path, *, once: bool = False) -> None:
        """Download a file over `to`; raises as `read` does.

        Args:
            once: do not try again.
        """
        limit, watch = 0 if once else self.retry_s, Watch(self._is_stopped)
        self._attempt(name, lambda: self._files.get_file(self._path(name), str(to), callback=watch), retry_s=limit)

    def has(self, name: str) -> bool:
        """Whether there is such a file, or folder where the store has folders."""
        if self.folder is None:
            return self._attempt(name, lambda: self._files.exists(self._path(name)))
        return (self.folder / name).exists()

    def size(self, name: str) -> int:
        """Bytes of a file; NotThere where there is none."""
        if self.folder is None:
            return int(self._attempt(name, lambda: self._files.size(self._path(name))))
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError as error:
            raise NotThere(f"{self.root}/{name}: no such file") from error

    def write(self, name: str, content: bytes) -> None:
        """A whole file, or none of it."""
        if self.folder is None:
            self._attempt(name, lambda: self._files.pipe_file(self._path(name), content))
        else:
            atomic.write_bytes(self.folder / name, content)

    @contextmanager
    def replace(self, name: str) -> Iterator[Path]:
        """Context of a local path to write: it becomes the file at the end, and is gone after an exception."""
        if self.folder is not None:
            with atomic.replace(self.folder / name) as draft:
                yield draft
            return
        with tempfile.TemporaryDirectory(prefix="tarpon-") as local:
            draft = Path(local) / Path(name).name
            yield draft
            self._attempt(name, lambda: self._files.put_file(str(draft), self._path(name)))

    def remove(self, name: str) -> None:
        """A file, or a folder with all that is in it; nothing where there is none."""
        if self.folder is None:
            with suppress(NotThere):
                self._attempt(name, lambda: self._files.rm(self._path(name), recursive=True))
        elif (self.folder / name).is_dir():
            shutil.rmtree(self.folder / name)
        else:
            (self.folder / name).unlink(missing_ok=True)

    def check_writable(self) -> None:
        """ValueError where nothing can be written: behind a web server."""
        if self._is_http():
            raise ValueError(
                f"{self.root}: nothing is written to a web server; give a folder, or a URL of a store such as s3://"
            )

    def list_names(self, inside: str = "") -> list[str] | None:
        """Names in the root, or in a folder in it, sorted; None where the store cannot list (HTTP)."""
        if self.folder is not None:
            folder = self.folder / inside
            return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        if self._is_http():
            return None
        try:
            found = self._attempt(inside, lambda: self._files.ls(self._path(inside).rstrip("/"), detail=False))
        except NotThere:
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def list_tree(self) -> dict[str, Mapping[str, object]]:
        """Every file below a URL: name from the root -> what the store tells of it (size, and what changes when it does).

        Empty where there is no such folder. ValueError where a web server lists no files; StoreError as `read`.
        """
        if self._is_http():
            return web_listing.list_tree(self._files, self.root, attempt=self._attempt)
        try:
            found = self._attempt("", lambda: self._files.find(self._inside, detail=True))
        except NotThere:
            return {}
        front = f"{self._inside.rstrip('/')}/"
        return {path.removeprefix(front): told for path, told in found.items() if path.startswith(front)}

    def _is_stopped(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _is_http(self) -> bool:
        return self.root.startswith(("http://", "https://"))

    def _open(self) -> None:
        scheme = self.root.partition("://")[0].rpartition("::")[2]
        backend = BACKENDS.get(scheme)
        try:
            self._files, self._inside = fsspec.url_to_fs(self.root, **_options(scheme))
            if backend:
                self._trouble = (*self._trouble, *map(_find_class, backend.trouble))
                self._refusals = tuple(map(_find_class, backend.refusals))
        except ImportError as error:
            what = f"package {backend.package}: pip install 'tarpon[{backend.extra}]'" if backend else f"package: {error}"
            raise ValueError(f"{self.root}: {scheme}:// needs the {what}") from error
        except ValueError as error:
            raise ValueError(f"{self.root}: no store is reached by {scheme}:// ({error})") from error

    def _path(self, name: str) -> str:
        return f"{self._inside.rstrip('/')}/{quote(name) if self._is_http() else name}"

    def _attempt(self, name: str, action: Callable[[], Got], *, retry_s: float | None = None) -> Got:
        """What the action returns, tried until it works, is refused or the time is over."""
        where, limit = f"{self.root}/{name}".rstrip("/"), self.retry_s if retry_s is None else retry_s
        pause, failed_at, told = FIRST_PAUSE_S, None, False
        while True:
            if self._is_stopped():
                raise StoreError(f"{where}: given up")
            try:
                return action()
            except self._trouble as error:
                status = _status_of(error)
                if isinstance(error, FileNotFoundError) or status in GONE:
                    raise NotThere(f"{where}: no such file") from error
                if isinstance(error, (PermissionError, *self._refusals)) or (status and status not in PASSING):
                    words = f"refused ({_describe(error)}); check the address and the access rights"
                    raise StoreError(f"{where}: {words}") from error
                if is_machine_fault(error):
                    raise
                if self._is_stopped():
                    continue
                failed_at = failed_at or time.monotonic()
                if (passed := time.monotonic() - failed_at) + pause > limit:
                    raise StoreError(
                        f"{where}: no answer for {passed:.0f} s ({_describe(error)}); is it up? The same command goes on"
                    ) from error
                if passed >= TOLD_S and not told:
                    told = True
                    words = f"no answer yet ({_describe(error)}); trying again for up to {limit:.0f} s"
                    print(f"{where}: {words}", file=sys.stderr, flush=True)
                wait = self._stop.wait if self._stop else time.sleep
                wait(pause * random.uniform(0.75, 1.25))  # processes that failed together come back apart
                pause = min(2 * pause, LONGEST_PAUSE_S)


class Watch(fsspec.Callback):
    """Asked at every piece of a download: ends it once it is to stop."""

    def __init__(self, is_stopped: Callable[[], bool]) -> None:
        super().__init__()
        self._is_stopped = is_stopped

    def call(self, *_: object, **__: object) -> None:
        if self._is_stopped():
            raise InterruptedError


def is_url(root: str | Path) -> bool:
    """Whether data lie elsewhere than in a folder."""
    return "://" in str(root)


def find_place(text: str) -> Path | str:
    """A path, or a URL as it is."""
    return text if is_url(text) else Path(text)


def _options(scheme: str) -> dict:
    """How a backend is opened: a silent connection is given up, and we alone try again."""
    if scheme in ("http", "https"):
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE_S, sock_read=SILENCE_S)
        return {"client_kwargs": {"timeout": limits}}
    if scheme in ("s3", "s3a"):
        return {
            "use_listings_cache": False,
            "config_kwargs": {"connect_timeout": SILENCE_S, "read_timeout": SILENCE_S, "retries": {"max_attempts": 1}},
        }
    return {"auto_mkdir": True} if scheme in ("file", "local") else {}


def _find_class(name: str) -> type[Exception]:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _status_of(error: BaseException) -> int:
    """The HTTP status that an exception carries; 0: none."""
    answer = getattr(error, "response", None) or {}
    given = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None
    found = getattr(error, "status", None) or getattr(error, "code", None) or given
    return int(found) if str(found).isdigit() else 0


def _describe(error: BaseException) -> str:
    """The kind of an exception with its message, in one line."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
