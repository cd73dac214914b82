"""The bad samples of one process of a run: told when they are met, kept in the run folder, and remembered over a resume."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tarpon.shards.quarantine import Budget, Fault
from tarpon.train.config import Run

if TYPE_CHECKING:
    from tarpon.train.engine import DistContext

QUARANTINE = "quarantine.jsonl"  # in the run folder


class Quarantine:
    """What training and evaluation share of it.

    Attributes:
        budget: what `loader.bad_rows`, `bad_share` and `bad_run` allow in each process.
        rejected: row -> fault of samples whose bytes are sound and do not decode.
    """

    def __init__(self, run: Run, context: "DistContext") -> None:
        loader = run.loader
        self.budget = Budget(loader.bad_rows, share=loader.bad_share, run=loader.bad_run, tell=self._tell)
        self.rejected: dict[int, Fault] = {}
        self._out, self._rank, self._world = Path(run.out) if run.out else None, context.rank, context.world
        self._unwritten: list[Fault] = []

    def memory(self) -> dict:
        """What a checkpoint keeps of it, as JSON."""
        self._write()
        return {
            "faults": [asdict(fault) for fault in self.budget.faults],
            "rows": sorted(self.budget.rows),
            "rejected": {str(row): asdict(fault) for row, fault in self.rejected.items()},
        }

    def remember(self, held: Sequence[Mapping]) -> None:
        """Go on from what all processes of a run had met; their number may be another.

        Args:
            held: `memory` of each.
        """
        for part in held[self._rank :: self._world]:  # together the processes go on with every part
            faults = [Fault(**fault) for fault in part.get("faults", ())]
            self.budget.faults += [fault for fault in faults if fault not in self.budget.faults]
            self.budget.rows |= set(part.get("rows", ()))
        for part in held:
            self.rejected |= {int(row): Fault(**fault) for row, fault in part.get("rejected", {}).items()}

    def _tell(self, fault: Fault) -> None:
        number = len(self.budget.faults)
        print(
            f"bad sample {fault} (number {number} of process {self._rank}, {self.budget.limit} allowed)",
            file=sys.stderr,
            flush=True,
        )
        self._unwritten.append(fault)
        self._write()

    def _write(self) -> None:
        """Into the run folder, once there is one; what stands there already is not written again."""
        if self._out is None or not self._out.is_dir() or not self._unwritten:
            return
        path = self._out / QUARANTINE
        known = set(path.read_text().splitlines()) if path.exists() else set()
        lines = [json.dumps(entry(fault, process=self._rank)) for fault in self._unwritten]
        new = "".join(f"{line}\n" for line in lines if line not in known)
        with open(path, "a") as file:  # one write: several processes share the file
            file.write(new)
        self._unwritten.clear()


def entry(fault: Fault, *, process: int) -> dict:
    """A line of the file."""
    tar, _, key = fault.file.rpartition(":")
    return {"tar": tar, "key": key, "offset": fault.offset, "error": fault.reason, "process": process}


def read_quarantine(folder: Path) -> list[dict]:
    """The lines of a run folder's file; ValueError naming one that is not readable."""
    path = folder / QUARANTINE
    found = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else (), start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: not JSON ({error}); delete the line") from error
    return found
