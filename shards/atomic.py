"""Atomic writes: a file is written under a temporary name in the same folder, then renamed."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replace(path: Path) -> Iterator[Path]:
    """Context of a temporary path in the same folder: renamed to `path` at the end, removed after an exception.

    Raises:
        OSError: the disk is full; names `path`, which whoever writes to an open file does not.
    """
    draft = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")  # of this process alone, on any machine
    try:
        yield draft
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            told = f"{os.strerror(error.errno)} (make room; the same command goes on)"
            raise OSError(error.errno, told, str(path)) from error
        raise
    finally:
        draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Write a folder's names to the disk: before that, a loss of power can undo a rename in it."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(held)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that sync no folders (some network mounts)
            raise
    finally:
        os.close(held)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) atomically."""
    with replace(path) as draft:
        draft.write_text(text)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a binary file atomically."""
    with replace(path) as draft:
        draft.write_bytes(content)


def remove_drafts(folder: Path) -> None:
    """Remove temporary files that a killed process left in the folder."""
    for draft in folder.glob(".*.tmp"):
        draft.unlink(missing_ok=True)
