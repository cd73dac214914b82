"""Reads dates in the names of outing folders, in the spellings that field teams use.

Two numbers and a year (`3_5_2024`) are read by one rule per data set, month first or day first (see `date_rules`).
"""

import csv
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from tarpon.shards.bounded_text import check_header

SEP = r"[-_./ ]"
YEAR = r"((?:19|20)\d\d)"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WORD = (
    r"(?<![a-z])(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)(?![a-z])"
)
DAY, GAP = r"(\d{1,2})(?:st|nd|rd|th)?", r"[-_./, ]"
# the first spelling that gives a calendar date wins; years of two digits are less certain and come last
SPELLINGS = tuple(
    (re.compile(pattern, re.IGNORECASE), parts)
    for pattern, parts in (
        (rf"^(\d{{1,2}}){SEP}(\d{{1,2}}){SEP}{YEAR}(?!\d)", "mdy"),
        (rf"(?<!\d){YEAR}{SEP}(\d{{1,2}}){SEP}(\d{{1,2}})(?!\d)", "ymd"),
        (rf"(?<!\d){YEAR}(\d\d)(\d\d)(?!\d)", "ymd"),
        (rf"(?<!\d){YEAR}{GAP}*{WORD}{GAP}*{DAY}(?!\d)", "ymd"),
        (rf"(?<![a-z\d]){DAY}{GAP}*{WORD}{GAP}*{YEAR}(?!\d)", "dmy"),
        (rf"{WORD}{GAP}*{DAY}{GAP}+{YEAR}(?!\d)", "mdy"),
        (rf"(?<![a-z\d])(\d{{1,2}}){SEP}(\d{{1,2}}){SEP}{YEAR}(?!\d)", "mdy"),  # not after a letter: site3_12_2023
        (rf"^(\d{{1,2}}){SEP}(\d{{1,2}}){SEP}(\d\d)(?!\d)", "mdy"),
    )
)


MONTH_FIRST, DAY_FIRST = "month_first", "day_first"


def read_day(name: str, *, rule: str | None = None) -> str:
    """The date in a name, as `YYYY-MM-DD`, or "".

    A year of two digits is of this century, and is read at the start of a name only. Impossible dates are ignored.

    Args:
        rule: month_first or day_first, for dates in numbers; None: month first where that is a date, else day first.
    """
    for days in _parse_spellings(name):
        order = (rule,) if rule else (MONTH_FIRST, DAY_FIRST)
        if day := next((days[own] for own in order if days[own]), ""):
            return day
    return ""


def read_both_days(name: str) -> tuple[str, str]:
    """The two readings (month first, day first) of a date in numbers, each "" where it is no date; ("", "") for other names."""
    for days in _parse_spellings(name):
        if any(days.values()):
            return (days[MONTH_FIRST], days[DAY_FIRST]) if days["two"] else ("", "")
    return "", ""


def _parse_spellings(name: str) -> Iterator[dict[str, str]]:
    """The readings of a name by each spelling, in order: month_first, day_first, and `two` where these may differ."""
    name = name.strip()
    for spelling, parts in SPELLINGS:
        for found in spelling.finditer(name):
            parts_of_date = dict(zip(parts, found.groups(), strict=True))
            year = int(parts_of_date["y"]) + (2000 if len(parts_of_date["y"]) == 2 else 0)
            word = parts_of_date["m"][:3].lower()
            month, day = MONTHS.index(word) + 1 if word in MONTHS else int(parts_of_date["m"]), int(parts_of_date["d"])
            two = parts == "mdy" and word not in MONTHS
            first, other = _format_iso(year, month, day), _format_iso(year, day, month)
            yield {MONTH_FIRST: first, DAY_FIRST: other if two else first, "two": "two" if two else ""}


def _format_iso(year: int, month: int, day: int) -> str:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return ""  # no calendar has it


def read_days(path: Path) -> dict[str, tuple[str, int]]:
    """folder -> (text of its date, line) of a CSV of `folder,date`, for folders whose names hold no date.

    Raises:
        ValueError: in one line, what is wrong with the file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; it is a CSV with the columns folder, date")
    check_header(path)
    days: dict[str, tuple[str, int]] = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        if missing := {"folder", "date"} - set(table.fieldnames or ()):
            raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; it has {', '.join(table.fieldnames or ())}")
        for row in table:
            folder, day = (row["folder"] or "").strip().strip("/"), (row["date"] or "").strip()
            if not folder or not read_day(day):
                raise ValueError(f"{path}:{table.line_num}: a folder and its date are expected, e.g. PWS_2023_JU,2023-07-15")
            if folder in days:
                raise ValueError(f"{path}:{table.line_num}: folder {folder!r} is in line {days[folder][1]} already")
            days[folder] = (day, table.line_num)
    return days
