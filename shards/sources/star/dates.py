"""The day in the name of an outing's folder, in the spellings that field teams use."""

import csv
import re
from datetime import date
from pathlib import Path

SEP = r"[-_./ ]"
YEAR = r"((?:19|20)\d\d)"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WORD = (
    r"(?<![a-z])(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)(?![a-z])"
)
DAY, GAP = r"(\d{1,2})(?:st|nd|rd|th)?", r"[-_./, ]"
# the first spelling that gives a day there is; a year of four digits is surer than one of two, so that comes last
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


def read_day(name: str) -> str:
    """The day that a name tells, as `YYYY-MM-DD`, or "".

    Of two numbers the first is the month, the second only where the first is above 12. A year of two digits is of this
    century, and is read at the start only. A day that no calendar has is none.
    """
    name = name.strip()
    for spelling, parts in SPELLINGS:
        for found in spelling.finditer(name):
            said = dict(zip(parts, found.groups(), strict=True))
            year = int(said["y"]) + (2000 if len(said["y"]) == 2 else 0)
            word = said["m"][:3].lower()
            month, day = MONTHS.index(word) + 1 if word in MONTHS else int(said["m"]), int(said["d"])
            if parts == "mdy" and month > 12:
                month, day = day, month
            try:
                return date(year, month, day).isoformat()
            except ValueError:
                continue  # no calendar has it: another spelling may fit
    return ""


def read_days(path: Path) -> dict[str, tuple[str, int]]:
    """folder -> (day, line) of a CSV of `folder,date`, for folders whose names tell no day.

    Raises:
        ValueError: in one line, what is wrong with the file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; it is a CSV with the columns folder, date")
    days: dict[str, tuple[str, int]] = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        if missing := {"folder", "date"} - set(table.fieldnames or ()):
            raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; it has {', '.join(table.fieldnames or ())}")
        for row in table:
            folder, day = (row["folder"] or "").strip().strip("/"), read_day(row["date"] or "")
            if not folder or not day:
                raise ValueError(f"{path}:{table.line_num}: a folder and its date are expected, e.g. PWS_2023_JU,2023-07-15")
            if folder in days:
                raise ValueError(f"{path}:{table.line_num}: folder {folder!r} is in line {days[folder][1]} already")
            days[folder] = (day, table.line_num)
    return days
