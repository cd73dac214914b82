"""Bad samples are named, counted and kept out; never skipped in silence, never filled in."""

import errno
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from tarpon.shards import atomic

# of the machine, not of a file: quarantining what follows would empty a data set for want of room
MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
VARYING = re.compile(r"""'[^']*'|"[^"]*"|\S*\w\.[a-z]\w{1,4}\b|-?\d+(\.\d+)?""")  # quoted text, file names, numbers in a reason


@dataclass(frozen=True, kw_only=True, order=True)
class Fault:
    """One thing that could not be used, and why."""

    file: str  # relative to the lab folder it came from, or shard:key
    reason: str
    row: int | None = None  # line or frame the reason speaks of
    offset: int | None = None  # byte offset in a tar
    packed: bool = False  # a remark only: what the file gave was packed all the same

    def __str__(self) -> str:
        where = f" row {self.row}" if self.row is not None else f" offset {self.offset}" if self.offset is not None else ""
        return f"{self.file}{where}: {self.reason}"


class Trouble(OSError):
    """A place that gives no answer or refuses one: no file is at fault, unless it is said to be gone."""


class BadSample(Exception):
    """A stored sample that does not read as the manifest says."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass
class Budget:
    """How many bad rows a run may meet before it stops; safe to share between threads."""

    limit: int  # distinct bad samples; 0 stops at the first
    share: float = 1.0  # of the rows of a split
    run: int = 0  # rows side by side in a split, as a damaged tar leaves them; 0: no limit
    faults: list[Fault] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)  # that the faults are of
    tell: Callable[[Fault], None] = lambda fault: None  # called once for each fault, when it is met
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def spend(self, fault: Fault, *, row: int, split: np.ndarray) -> None:
        """Count a fault once.

        Args:
            row: the bad one.
            split: ascending rows of the part of the data that it belongs to.

        Raises:
            ValueError: past a limit; names it, the first fault and what to do.
        """
        with self._lock:
            if fault not in self.faults and len(self.faults) <= self.limit:  # one past the limit ends it: no more are told
                self.faults.append(fault)
                self.tell(fault)
            self.rows.add(row)
            bad = np.isin(split, list(self.rows)) if self.share < 1 or self.run else np.zeros(0, bool)
        spent = ""
        if len(self.faults) > self.limit:
            spent = f"{len(self.faults)} bad samples, {self.limit} allowed (bad_rows)"
        elif self.share < 1 and bad.mean() > self.share:
            spent = f"{bad.sum()} of {len(bad)} rows are bad, a share of {self.share:g} is allowed (bad_share)"
        elif self.run and (run := longest_run(bad)) > self.run:
            spent = f"{run} bad rows side by side, {self.run} allowed (bad_run)"
        if spent:
            raise ValueError(f"{spent}; the first: {self.faults[0]}; run `tarpon lint` on the shards")


def longest_run(bad: np.ndarray) -> int:
    """Length of the longest run of True.

    Args:
        bad: (n,) bool.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def write_faults(path: Path, faults: Iterable[Fault]) -> None:
    """One JSON object a line, by temp file and rename."""
    atomic.write_text(path, format_faults(faults))


def format_faults(faults: Iterable[Fault]) -> str:
    """The text of a file of faults."""
    return "".join(json.dumps(asdict(fault)) + "\n" for fault in faults)


def read_faults(path: Path) -> list[Fault]:
    if not path.exists():
        return []
    return parse_faults(path.read_text())


def parse_faults(text: str) -> list[Fault]:
    """The faults of a file's text; TypeError or ValueError where a line is none."""
    return [Fault(**json.loads(line)) for line in text.splitlines()]


def is_machine_fault(error: BaseException | None) -> bool:
    """Whether the machine (no room, too many open files) or the network raised it, and no file is at fault."""
    if isinstance(error, Trouble):
        return not isinstance(error, FileNotFoundError)
    return isinstance(error, OSError) and error.errno in MACHINE


def contain(name: str, items: Iterable) -> Iterator:
    """Pass the items of one unit on; an exception that nobody expected becomes the unit's fault and ends the unit, not the run.

    Raises:
        OSError: the machine (no room, too many open files) or the network is at fault.
    """
    try:
        yield from items
    except Exception as error:
        if is_machine_fault(error):
            raise
        yield Fault(file=name, reason=format_reason(error))


def attempt(name: str, function: Callable, *arguments: object) -> tuple[object | None, Fault | None]:
    """What the function returns, or the fault that `contain` would make of its exception."""
    (item,) = contain(name, (function(*arguments) for _ in range(1)))
    return (None, item) if isinstance(item, Fault) else (item, None)


def format_reason(error: Exception) -> str:
    """One line. ValueError carries a message that was written for the user; of any other the type matters too."""
    text = " ".join(str(error).split())
    if isinstance(error, UnicodeError) or not isinstance(error, ValueError):
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text or "ValueError"


def group_by_reason(faults: Sequence[Fault]) -> list[tuple[str, list[Fault]]]:
    """Faults of one kind together, the most frequent kind first: (the reason, its faults).

    Reasons that differ only in names and numbers are one kind; the first one's text stands for it.
    """
    kinds: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        kinds[VARYING.sub("#", fault.reason)].append(fault)
    return [(found[0].reason, found) for found in sorted(kinds.values(), key=lambda found: -len(found))]
