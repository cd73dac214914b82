"""Files appear whole or not at all: written beside their place, then renamed into it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; renamed to `path` when the block ends well, removed when it does not."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as draft:
        draft.write_text(text)


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as draft:
        draft.write_bytes(content)


def remove_drafts(folder: Path) -> None:
    """Clear what a killed process left behind."""
    for draft in folder.glob(".*.tmp"):
        draft.unlink(missing_ok=True)
