"""A folder of one process for files that it fetched: removed at its end, or by the next process where it was killed."""

import fcntl
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SCRATCH_BYTES = 64 * 2**30
ENDING = ".lock"


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """Where fetched files lie while they are read, and how many bytes of them at most."""

    folder: str | None = None  # None: the machine's folder for temporary files
    size: int = SCRATCH_BYTES

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"scratch_bytes={self.size} must be above 0")

    def root(self) -> Path:
        """The folder of all such folders of this user: nothing outside of it is touched."""
        return Path(self.folder or tempfile.gettempdir()).expanduser().resolve() / f"tarpon-inputs-{os.getuid()}"


@contextmanager
def open_scratch(scratch: Scratch) -> Iterator[Path]:
    """An empty folder of this process alone, which is gone at the end; those of dead processes of this machine are removed."""
    root = scratch.root()
    root.mkdir(parents=True, exist_ok=True)
    machine = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
    _remove_dead(root, machine)
    file, name = tempfile.mkstemp(prefix=f"{machine}-", suffix=ENDING, dir=root)
    own = Path(name.removesuffix(ENDING))
    try:
        _lock(file)
        own.mkdir()
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        Path(name).unlink(missing_ok=True)
        os.close(file)


def _lock(file: int) -> bool | None:
    """Whether the lock was taken; None where the file system knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_dead(root: Path, machine: str) -> None:
    """Remove folders of this machine whose lock is free: their processes have ended."""
    for own in root.glob(f"{machine}-*"):
        if own.suffix == ENDING or not own.is_dir():
            continue
        with suppress(FileNotFoundError):  # its process, or another one, removes it this moment
            file = os.open(own.with_name(own.name + ENDING), os.O_RDWR)
            try:
                if _lock(file):
                    shutil.rmtree(own, ignore_errors=True)
                    own.with_name(own.name + ENDING).unlink(missing_ok=True)
            finally:
                os.close(file)
