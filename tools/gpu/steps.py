"""A part is a list of steps: each yields rows, is timed, and may fail without taking the others along.

A part runs in a process of its own: `python3 -m tarpon.tools.gpu.PART --out DIR --seconds N`.
"""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tarpon.tools.gpu.journal import Journal

POISONED = 70  # exit status: the GPU answers nothing any more in this process, another may go on
FAILED = 1  # exit status: all was tried, and something was not well
TOLD = 4000  # last characters of a traceback that a row holds; the log holds all
Rows = Iterator[dict]  # {"kind": ..., "name": ..., ...}; "ok" False makes its step a failed one


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What the steps of a part share."""

    out: Path
    device: str = "gpu"  # gpu | cpu: everything small, to try the part itself
    shards: Path | None = None  # as `tarpon gpu --prepare` writes them
    ends: float = float("inf")  # time.monotonic() by which the part should have ended
    since: float = float("inf")  # as Journal's

    @property
    def gpu(self) -> bool:
        return self.device == "gpu"

    @property
    def torch_device(self) -> str:
        return "cuda" if self.gpu else "cpu"

    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to do; heavy imports belong inside `make`, so that steps can be listed anywhere."""

    name: str
    make: Callable[[Visit], Rows]
    seconds: float  # that it is expected to take on an H100; not begun with less than a third of it left
    resumes: bool = False  # knows itself what of it is over: begun again after it ended the process


def main(part: str, steps: Sequence[Step], argv: Sequence[str]) -> int:
    """Exit status: 0 all well, 1 a step failed or found no time, 70 the device is lost to this process."""
    parser = argparse.ArgumentParser(prog=f"python3 -m tarpon.tools.gpu.{part}")
    parser.add_argument("--out", type=Path, required=True, help="folder for the rows")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for the whole part")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--shards", type=Path, help="folder that `tarpon gpu --prepare` wrote")
    parser.add_argument("--since", type=float, default=float("inf"), help="steps begun after this time are not begun again")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what a step started is ended
    ends = time.monotonic() + given.seconds
    visit = Visit(out=given.out, device=given.device, shards=given.shards, ends=ends, since=given.since)
    return take(steps, visit, Journal(given.out, part, since=given.since))


def take(steps: Sequence[Step], visit: Visit, journal: Journal) -> int:
    """All steps in order, those that are over left out."""
    well = True
    for step in steps:
        if journal.over(step.name, done=step.resumes):
            continue
        if visit.left() < step.seconds / 3:
            journal.write("step", step.name, ok=False, seconds=0.0, said=f"not begun: {max(visit.left(), 0):.0f} s were left")
            well = False
            continue
        well &= attempt(step, visit, journal)
        if visit.gpu and device_is_lost():
            print("the GPU answers nothing any more in this process", flush=True)
            return POISONED
    return 0 if well else FAILED


def attempt(step: Step, visit: Visit, journal: Journal) -> bool:
    """One step, its rows written as they come; what it raises is told, not raised."""
    begun, rows, bad = time.monotonic(), 0, []
    journal.write("begin", step.name)
    print(f"-- {step.name}", flush=True)
    said = ""
    try:
        for row in step.make(visit):
            journal.write(**row, step=step.name)
            rows += 1
            bad += [row["name"]] if row.get("ok") is False else []
    except Exception as error:  # noqa: BLE001 (a compiler, CUDA or DALI may raise anything; the other steps must still be done)
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"[:TOLD]
        journal.write("error", step.name, step=step.name, ok=False, said=said, traceback=traceback.format_exc()[-TOLD:])
    ok = not bad and not said
    said = said or (f"{len(bad)} of {rows} failed: {', '.join(bad)}"[:TOLD] if bad else f"{rows} rows")
    took = round(time.monotonic() - begun, 2)
    journal.write("step", step.name, ok=ok, seconds=took, said=said)
    print(f"-- {step.name}: {'' if ok else 'FAILED: '}{said} ({took:.1f} s)", flush=True)
    return ok


def device_is_lost() -> bool:
    """After an illegal access every further call to CUDA in the process fails."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
