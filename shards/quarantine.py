"""Faults: what cannot be used is named with its reason, counted, and kept out; never silently skipped or filled in."""

import errno
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tarpon.shards import atomic

# of the machine, not of a file: quarantining what follows would empty a data set for want of room
MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
VARYING = re.compile(r"""'[^']*'|"[^"]*"|\S*\w\.[a-z]\w{1,4}\b|-?\d+(\.\d+)?""")  # quoted text, file names, numbers in a reason


@dataclass(frozen=True, kw_only=True, order=True)
class Fault:
    """A file, row or sample that could not be used, and why."""

    file: str  # relative to the lab folder it came from, or shard:key
    reason: str
    row: int | None = None  # line or frame that the reason refers to
    offset: int | None = None  # byte offset in a tar
    packed: bool = False  # a remark only: the file was packed nevertheless

    def __str__(self) -> str:
        where = f" row {self.row}" if self.row is not None else f" offset {self.offset}" if self.offset is not None else ""
        return f"{self.file}{where}: {self.reason}"


class BadSample(Exception):
    """A stored sample is unreadable, or differs from what the manifest says."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass
class Budget:
    """The number of bad rows that a run tolerates before it stops."""

    limit: int  # distinct bad samples; 0 stops at the first
    faults: list[Fault] = field(default_factory=list)

    def spend(self, fault: Fault) -> None:
        """Count a fault once; past the limit ValueError, naming the first fault and what to do."""
        if fault in self.faults:
            return
        self.faults.append(fault)
        if len(self.faults) > self.limit:
            raise ValueError(
                f"{len(self.faults)} bad samples, {self.limit} allowed (bad_rows); the first: {self.faults[0]}; "
                f"run `tarpon lint` on the shards"
            )


def write_faults(path: Path, faults: Iterable[Fault]) -> None:
    """Write one JSON object a line, atomically."""
    atomic.write_text(path, "".join(json.dumps(asdict(fault)) + "\n" for fault in faults))


def read_faults(path: Path) -> list[Fault]:
    """Faults that `write_faults` wrote; none where there is no file."""
    if not path.exists():
        return []
    return [Fault(**json.loads(line)) for line in path.read_text().splitlines()]


def contain(name: str, items: Iterable) -> Iterator:
    """The items of one unit; an unexpected exception becomes a fault of that name and ends the unit, not the run.

    Raises:
        OSError: a fault of the machine (no room, too many open files).
    """
    try:
        yield from items
    except Exception as error:
        if isinstance(error, OSError) and error.errno in MACHINE:
            raise
        yield Fault(file=name, reason=format_reason(error))


def attempt(name: str, function: Callable, *arguments: object) -> tuple[object | None, Fault | None]:
    """(the function's result, None), or (None, the fault that `contain` makes of its exception)."""
    (item,) = contain(name, (function(*arguments) for _ in range(1)))
    return (None, item) if isinstance(item, Fault) else (item, None)


def format_reason(error: Exception) -> str:
    """An exception in one line: the message of a ValueError, which is written for users; type and message of any other."""
    text = " ".join(str(error).split())
    if isinstance(error, UnicodeError) or not isinstance(error, ValueError):
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text or "ValueError"


def group_by_reason(faults: Sequence[Fault]) -> list[tuple[str, list[Fault]]]:
    """(reason, its faults) for each kind of fault, the most frequent first.

    Reasons that differ only in names and numbers are one kind, with the text of the first.
    """
    kinds: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        kinds[VARYING.sub("#", fault.reason)].append(fault)
    return [(found[0].reason, found) for found in sorted(kinds.values(), key=lambda found: -len(found))]
