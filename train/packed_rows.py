"""Numbers of rows as processes hand them on: ascending, as steps in the smallest type that holds them. N rows.

Rows of a split lie close together, so that most need one byte in place of eight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedRows:
    """Ascending row numbers."""

    first: int  # of no rows: 0
    steps: np.ndarray  # (N - 1,) unsigned, from each row to the next; of no rows and of one: ()
    count: int  # N


def collect_rows(batches: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """(N,) int64, ascending: the `row` of all batches of a process."""
    return np.sort(np.concatenate([np.empty(0, np.int64), *(batch["row"] for batch in batches)]))


def pack_rows(rows: np.ndarray) -> PackedRows:
    """(N,) int64, ascending, to be handed on."""
    steps = np.diff(rows)
    smallest = np.min_scalar_type(int(steps.max(initial=0)))
    return PackedRows(first=int(rows[0]) if len(rows) else 0, steps=steps.astype(smallest), count=len(rows))


def unpack_rows(packed: PackedRows) -> np.ndarray:
    """(N,) int64, as they were packed."""
    return np.concatenate([[packed.first], packed.steps.astype(np.int64)]).cumsum()[: packed.count]


def sort_answered(rows: np.ndarray, *, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows in order and (N,) int64 where each was; ValueError where a row is there twice, or there is none.

    Args:
        unit: what a row is called, plural.
    """
    if not len(rows):
        raise ValueError(f"no {unit}: the split is empty; look at the manifest's split column")
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    repeats = int((np.diff(rows) == 0).sum())
    if repeats:
        raise ValueError(f"{repeats} {unit} of the split were answered more than once; drop the repeats before scoring")
    return rows, order


def join_packed(parts: Sequence[PackedRows]) -> np.ndarray:
    """The rows of all parts, part after part."""
    return np.concatenate([np.empty(0, np.int64), *map(unpack_rows, parts)])
