"""Versions of installed packages, to be recorded with results."""

import importlib.metadata
from collections.abc import Iterable


def find_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Version of each package; None where it is not installed, or is on the path without its metadata."""
    return {name: _find_version(name) for name in names}


def _find_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
