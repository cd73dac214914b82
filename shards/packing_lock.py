"""One packing a folder: a lock that the kernel takes back when its process ends, however it ends."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".packing"


@contextmanager
def hold_packing(out: Path | None) -> Iterator[None]:
    """The folder, made where there is none, is this process's alone; None, a remote store, has no lock.

    Raises:
        ValueError: another packing is going on in it; names the process and its machine. A file system without locks holds
            nothing.
    """
    if out is None:
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    file = _take(out / LOCK)
    try:
        yield
    finally:
        (out / LOCK).unlink(missing_ok=True)  # before it is let go: who comes now finds none and makes another
        os.close(file)


def _take(path: Path) -> int:
    """Descriptor of the locked file that stands at the path."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise ValueError(
                f"{path.parent}: a packing is going on in it ({holder}); wait for it, stop it, or give another --out"
            ) from None
        except OSError:  # no locks here: some network file systems
            return file
        if _stands_at(file, path):
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return file
        os.close(file)  # its holder ended between our opening and our locking, and removed it


def _stands_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
