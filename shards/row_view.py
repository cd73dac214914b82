"""Columns of a manifest by row, without a Python object a row."""

from collections.abc import Sequence
from typing import Protocol


class Cells(Protocol):
    """What has rows of named cells: a manifest."""

    def __len__(self) -> int: ...

    def value(self, row: int, column: str) -> object: ...


class RowView(Sequence):
    """view[row] is the row's cell of a column, of several columns a tuple."""

    def __init__(self, cells: Cells, *columns: str) -> None:
        self._cells, self._columns = cells, columns

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, row: int) -> object:
        row = range(len(self))[row]  # IndexError beyond the end: a loop over the view ends there
        found = tuple(self._cells.value(row, column) for column in self._columns)
        return found if len(self._columns) > 1 else found[0]


class KeyView(RowView):
    """Keys by row; `row_of` leads back from those that were asked for."""

    def __init__(self, cells: Cells) -> None:
        super().__init__(cells, "key")
        self.row_of: dict[str, int] = {}

    def __getitem__(self, row: int) -> str:
        key = super().__getitem__(row)
        self.row_of[key] = int(row)
        return key
