"""CSV files that people open in a spreadsheet: no name in them starts a formula.

A cell that begins with = + - @, a tab or a line's end is taken for a formula by the usual programs, whatever quotes stand
around it; with an apostrophe before it, it is text. Numbers stay as they are.
"""

import csv
from collections.abc import Iterable, Mapping
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def guard(cell: object) -> object:
    """The cell itself, or text that would start a formula with an apostrophe before it."""
    if not isinstance(cell, str) or not cell.startswith(STARTS) or _is_number(cell):
        return cell
    return f"'{cell}"


def guard_table(table: pa.Table) -> pa.Table:
    """The same for every text column."""
    for at, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table[field.name]
            risky = pc.and_(
                pc.match_substring_regex(column, "^[=+\\-@\t\r\n]"), pc.invert(pc.match_substring_regex(column, NUMBER))
            )
            safe = pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
            table = table.set_column(at, field, safe)
    return table


class Writer:
    """As csv.writer, every cell guarded."""

    def __init__(self, file: TextIO, *, lineterminator: str = "\r\n") -> None:
        self._writer = csv.writer(file, lineterminator=lineterminator)

    def writerow(self, cells: Iterable[object]) -> None:
        self._writer.writerow([guard(cell) for cell in cells])

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        for row in rows:
            self.writerow(row)


def guard_row(cells: Mapping[str, object]) -> dict[str, object]:
    """For csv.DictWriter."""
    return {name: guard(cell) for name, cell in cells.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
