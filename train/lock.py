"""One training a run folder: a lock that the kernel takes back when its process ends, however it ends."""

import errno
import fcntl
import os
import socket
from pathlib import Path

LOCK = ".lock"


class Lock:
    """Holds a run folder from `take` to `release`, or to the end of the process."""

    def __init__(self) -> None:
        self._file: int | None = None

    def take(self, folder: Path) -> None:
        """ValueError naming the holder when another process has it. A file system without locks holds nothing."""
        if self._file is not None:
            return
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 200).decode(errors="replace").strip()
            os.close(file)
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                return
            raise ValueError(
                f"{folder}: a training is going on in it ({holder or 'another process'}); wait for it, stop it, or give "
                f"another --out"
            ) from None
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_held(folder: Path) -> bool:
    """Whether a training is going on in a folder."""
    if not (folder / LOCK).exists():
        return False
    lock = Lock()
    try:
        lock.take(folder)
    except ValueError:
        return True
    lock.release()
    return False
