"""Bad samples are named, counted and kept out; never skipped in silence, never filled in."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tarpon.shards import atomic


@dataclass(frozen=True, kw_only=True, order=True)
class Fault:
    """One thing that could not be used, and why."""

    file: str  # relative to the lab folder it came from, or shard:key
    reason: str
    row: int | None = None  # line or frame the reason speaks of
    offset: int | None = None  # byte offset in a tar

    def __str__(self) -> str:
        where = f" row {self.row}" if self.row is not None else f" offset {self.offset}" if self.offset is not None else ""
        return f"{self.file}{where}: {self.reason}"


class BadSample(Exception):
    """A stored sample that does not read as the manifest says."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass
class Budget:
    """How many bad rows a run may meet before it stops."""

    limit: int  # distinct bad samples; 0 stops at the first
    faults: list[Fault] = field(default_factory=list)

    def spend(self, fault: Fault) -> None:
        """Count a fault once; past the limit raise ValueError naming the first and what to do."""
        if fault in self.faults:
            return
        self.faults.append(fault)
        if len(self.faults) > self.limit:
            raise ValueError(
                f"{len(self.faults)} bad samples, {self.limit} allowed (bad_rows); the first: {self.faults[0]}; "
                f"run `tarpon lint` on the shards"
            )


def write_faults(path: Path, faults: Iterable[Fault]) -> None:
    """One JSON object a line, by temp file and rename."""
    atomic.write_text(path, "".join(json.dumps(asdict(fault)) + "\n" for fault in faults))


def read_faults(path: Path) -> list[Fault]:
    if not path.exists():
        return []
    return [Fault(**json.loads(line)) for line in path.read_text().splitlines()]
