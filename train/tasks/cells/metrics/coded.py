"""Columns whose values come together again and again, as a table of what comes together and a number a row.

Of 10^5 pages there are a hundred times and some hundred stacks: a byte or two a page in place of 4 a value and a name.
N rows, M kinds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Coded:
    """Some columns of N rows."""

    kinds: dict[str, np.ndarray]  # column -> (M,) its value in each kind
    number: np.ndarray  # (N,) unsigned, the kind of each row

    def column(self, name: str) -> np.ndarray:
        """(N,) as it was, to the bit."""
        return self.kinds[name][self.number]


def encode(columns: Mapping[str, np.ndarray]) -> Coded:
    """Columns (N,) of whole numbers, float32 or str."""
    kind = np.zeros(len(next(iter(columns.values()))), np.int64)
    for column in columns.values():
        bits = column.view(np.int32) if column.dtype == np.float32 else column  # by bits a NaN equals itself, and -0 is not 0
        own = np.unique(bits, return_inverse=True)[1]
        kind = np.unique(kind * (own.max(initial=0) + 1) + own, return_inverse=True)[1]  # stays below N: no overflow
    _, first = np.unique(kind, return_index=True)
    smallest = np.min_scalar_type(max(len(first) - 1, 0))
    return Coded(kinds={name: column[first] for name, column in columns.items()}, number=kind.astype(smallest))
