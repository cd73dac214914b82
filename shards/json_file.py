"""Strictly valid JSON files: no NaN, no NumPy types; written atomically."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tarpon.shards import atomic


def write_json(path: Path, value: object) -> None:
    """Write valid JSON atomically: NaN and None are left out of objects and null in lists, NumPy values become plain ones."""
    atomic.write_text(path, json.dumps(to_json(value), indent=2, allow_nan=False) + "\n")


def to_json(value: object) -> object:
    """Nested mappings, sequences, NumPy values and paths as JSON types."""
    if isinstance(value, Mapping):
        held = {str(name): to_json(item) for name, item in value.items()}
        return {name: item for name, item in held.items() if item is not None}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
