"""Label tables as text, whoever exported them: any of the usual encodings, separators and decimal signs."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from tarpon.shards.bounded_text import check_header

HEAD = 30  # lines among which the header is looked for: BORIS writes what it knows of the observation above it


def read_cells(path: Path) -> list[list[str]]:
    """Rows of stripped cells, blank rows at the end left out.

    UTF-8 (with a byte order mark or without), UTF-16, and Latin-1 as Windows writes it; comma, semicolon or tab.
    """
    check_header(path)
    lines = _decode(path.read_bytes()).splitlines()
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=_separator(lines[:HEAD])) if row]
    except csv.Error as error:
        raise ValueError(f"not a table of text ({error})") from error
    while rows and not any(rows[-1]):
        rows.pop()
    return rows


def _decode(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    if content[1:2] == b"\0" or content[:1] == b"\0":  # UTF-16 without its mark: every second byte of plain text is 0
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _separator(lines: Sequence[str]) -> str:
    """The one that cuts the header into most cells. A comma between digits may be a decimal sign, so it does not count."""
    counts = {mark: max((line.count(mark) for line in lines), default=0) for mark in ";\t"}
    counts[","] = max((len(re.findall(r"(?<!\d),|,(?!\d)", line)) for line in lines), default=0)
    return max(counts, key=lambda mark: (counts[mark], mark == ","))


def number(text: str) -> float | None:
    """A number with decimal point or comma; None for any other text."""
    plain = text.strip().replace(",", ".")
    return float(plain) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", plain, re.I) else None


def column_names(head: Sequence[str]) -> dict[str, int]:
    """Name in small letters -> column. ValueError where two columns have one name: either could be meant.

    `Action.1` is what pandas makes of a second Action column.
    """
    found: dict[str, int] = {}
    for place, name in enumerate(head):
        plain = name.lower()
        first = re.sub(r"\.\d+$", "", plain)
        same = plain if plain in found else first if first in found else None
        if name and same is not None:
            raise ValueError(f"columns {head[found[same]]} and {name} are one name twice; leave one")
        found.setdefault(plain, place)
    return found


def column(rows: Sequence[Sequence[str]], place: int) -> list[str]:
    """One column's cells; rows may be short."""
    return [row[place] if place < len(row) else "" for row in rows]
