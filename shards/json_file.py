"""JSON files that any reader takes: no NaN, no numpy types, whole or absent."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tarpon.shards import atomic


def write_json(path: Path, value: object) -> None:
    """Valid JSON, whole or not at all: NaN and None are left out of objects and are null in lists, numpy becomes plain."""
    atomic.write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def plain(value: object) -> object:
    """Nested mappings, sequences, numpy and paths as what JSON has."""
    if isinstance(value, Mapping):
        held = {str(name): plain(item) for name, item in value.items()}
        return {name: item for name, item in held.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
