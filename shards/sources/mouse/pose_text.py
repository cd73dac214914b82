"""Text tables of numbers, fast: headers by the csv module, numbers by Arrow, and again slowly to name a bad line."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from tarpon.shards.arrow_input import open_bytes

BLANK = ("", "nan", "na", "n/a", "none", "null", "-nan", "#n/a")  # in lower case


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A decoded table: its header rows, then the rest as text."""

    header: list[list[str]]
    body: str  # what follows the header
    first_line: int  # line number of the body's first line, counted from 1
    delimiter: str
    decimal: str

    def read(self, *, texts: int, numbers: Sequence[int]) -> tuple[list[list[str]], np.ndarray, np.ndarray]:
        """Cells of the body.

        Args:
            texts: how many first columns to give as text.
            numbers: which columns to give as numbers; what else there is is not looked at.

        Returns:
            the text columns, one list each; (R, numbers) float64, NaN where blank; (R,) line numbers.

        Raises:
            ValueError: `line N: ` and what is wrong there.
        """
        try:
            columns, values = self._fast(texts, numbers)
            lines = self._lines()
            if len(lines) == len(values):
                return columns, values, lines
        except pa.ArrowInvalid:
            pass  # the slow reader names the line, or takes what Arrow does not (a blank of spaces)
        return self._slow(texts, numbers)

    def _fast(self, texts: int, numbers: Sequence[int]) -> tuple[list[list[str]], np.ndarray]:
        wanted = [str(i) for i in (*range(texts), *numbers)]
        table = pa.csv.read_csv(
            open_bytes(self.body.encode()),
            read_options=pa.csv.ReadOptions(
                column_names=[str(i) for i in range(len(self.header[-1]))], use_threads=False
            ),  # packing processes are the parallelism
            parse_options=pa.csv.ParseOptions(delimiter=self.delimiter),
            convert_options=pa.csv.ConvertOptions(
                include_columns=wanted,
                column_types={name: pa.string() if i < texts else pa.float64() for i, name in enumerate(wanted)},
                null_values=[form for text in BLANK for form in (text, text.upper(), text.capitalize())] + ["NaN", "-NaN"],
                decimal_point=self.decimal,
            ),
        )
        values = np.empty((len(table), len(numbers)))
        for i in range(len(numbers)):
            values[:, i] = table.column(texts + i).to_numpy()
        return [table.column(i).to_pylist() for i in range(texts)], values

    def _lines(self) -> np.ndarray:
        """Line numbers of the lines that are not blank."""
        if "\n\n" not in self.body and "\n\r" not in self.body and not self.body.startswith(("\n", "\r")):
            count = self.body.count("\n") + (not self.body.endswith("\n") and bool(self.body))
            return self.first_line + np.arange(count)
        return np.array([self.first_line + i for i, text in enumerate(self.body.split("\n")) if text.strip("\r")], np.int64)

    def _slow(self, texts: int, numbers: Sequence[int]) -> tuple[list[list[str]], np.ndarray, np.ndarray]:
        reader = csv.reader(io.StringIO(self.body, newline=""), delimiter=self.delimiter)
        columns: list[list[str]] = [[] for _ in range(texts)]
        values, lines, width = [], [], len(self.header[-1])
        for row in _checked(reader, self.first_line):
            if not any(cell.strip() for cell in row):
                continue  # a blank line, or one of separators only that a spreadsheet leaves at the end
            line = self.first_line + reader.line_num - 1
            if len(row) != width:
                raise ValueError(f"line {line}: {len(row)} cells, the header has {width}")
            for column, cell in zip(columns, row[:texts], strict=True):
                column.append(cell)
            values.append([self._number(row[i], line) for i in numbers])
            lines.append(line)
        return columns, np.array(values, float).reshape(len(values), len(numbers)), np.array(lines, np.int64)

    def _number(self, cell: str, line: int) -> float:
        text = cell.strip()
        if text.lower() in BLANK:
            return float("nan")
        try:
            return float(text.replace(self.decimal, "."))
        except ValueError:
            raise ValueError(f"line {line}: {cell!r} is not a number") from None


def read_text(path: Path, *, most: int = -1) -> str:
    """A file's text: UTF-8 or UTF-16 by their byte order marks, else UTF-8, else Latin-1; without NUL and mark.

    most: bytes to read of a longer file, up to the last whole line; -1: all.
    """
    with open(path, "rb") as file:
        content = file.read(most)
    if len(content) == most and (cut := content.rfind(b"\n", 0, -1) + 1):
        content = content[: cut + content.startswith(b"\xff\xfe")]
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text[:1000]:
        raise ValueError("is not a text file")
    return text if "\n" in text else text.replace("\r", "\n")  # an old Macintosh's line ends


def _checked(reader: object, first_line: int) -> Iterator[list[str]]:
    """A csv reader's rows; ValueError naming the line that it cannot read."""
    try:
        yield from reader
    except csv.Error as error:
        raise ValueError(f"line {first_line + reader.line_num - 1}: {error}") from error


def split_table(text: str, *, is_header: Callable[[list[str]], bool]) -> TextTable:
    """Header rows are the first lines for which is_header(cells) holds; semicolons and tabs may separate."""
    delimiter = max(",;\t", key=first_line(text).count)
    header, line, start = [], 1, 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        cells = next(_checked(csv.reader([text[start:end]], delimiter=delimiter), line), [])
        if cells and not is_header(cells):
            break
        if cells:
            header.append(cells)
        start, line = end, line + 1
    return TextTable(
        header=header,
        body=text[start:],
        first_line=line,
        delimiter=delimiter,
        decimal="." if delimiter == "," else _decimal(text[start : start + 20000]),
    )


def first_line(text: str) -> str:
    """The first line that is not blank, without its end."""
    start = len(text) - len(text.lstrip("\r\n")) if text[:1] in ("\r", "\n") else 0
    end = text.find("\n", start)
    return text[start : end if end >= 0 else len(text)].rstrip("\r")


def _decimal(text: str) -> str:
    """The decimal sign of rows that commas do not separate."""
    return "," if text.count(",") > text.count(".") else "."
