"""Runs the steps of a part: each yields rows, is timed, and may fail without stopping the others.

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

DEVICE_LOST = 70  # exit status: every further CUDA call of this process fails; another process may go on
FAILED = 1  # exit status: all was tried, and something was not well
TRACEBACK_CHARS = 4000  # last characters of a traceback that a row holds; the log holds all
Rows = Iterator[dict]  # {"kind": ..., "name": ..., ...}; "ok" False makes its step a failed one


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What the steps of a part need: where rows go, the device, the shards, the time limit."""

    out: Path
    device: str = "gpu"  # gpu | cpu: everything small, to try the part itself
    shards: Path | None = None  # as `tarpon gpu --prepare` writes them
    ends: float = float("inf")  # time.monotonic() by which the part should have ended
    since: float = float("inf")  # seconds since 1970, see Journal

    @property
    def gpu(self) -> bool:
        return self.device == "gpu"

    @property
    def torch_device(self) -> str:
        return "cuda" if self.gpu else "cpu"

    @property
    def ordinal(self) -> int | None:
        """Of the GPU that is used; None: the CPU."""
        return 0 if self.gpu else None

    def seconds_left(self) -> float:
        return self.ends - time.monotonic()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One check or measurement. Heavy imports belong inside `make`, so that steps can be listed on any machine."""

    name: str
    make: Callable[[Visit], Rows]
    seconds: float  # that it is expected to take on an H100; not begun with less than a third of it left
    resumes: bool = False  # keeps track of its own parts: run again after it ended the process


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
    return run_steps(steps, visit, Journal(given.out, part, since=given.since))


def run_steps(steps: Sequence[Step], visit: Visit, journal: Journal) -> int:
    """Run the steps in order, except those that are over; returns the exit status."""
    well = True
    for step in steps:
        if journal.is_over(step.name, done=step.resumes):
            continue
        if visit.seconds_left() < step.seconds / 3:
            journal.write(
                "step", step.name, ok=False, seconds=0.0, said=f"not begun: {max(visit.seconds_left(), 0):.0f} s were left"
            )
            well = False
            continue
        well &= run_step(step, visit, journal)
        if visit.gpu and device_is_lost():
            print("the GPU answers nothing any more in this process", flush=True)
            return DEVICE_LOST
    return 0 if well else FAILED


def run_step(step: Step, visit: Visit, journal: Journal) -> bool:
    """Run one step and write its rows as they come; an exception becomes a row. Returns whether all of it was well."""
    begun, rows, bad = time.monotonic(), 0, []
    journal.write("begin", step.name)
    print(f"-- {step.name}", flush=True)
    message = ""
    try:
        for row in step.make(visit):
            journal.write(**row, step=step.name)
            rows += 1
            bad += [row["name"]] if row.get("ok") is False else []
    except Exception as error:  # noqa: BLE001 (a compiler, CUDA or DALI may raise anything; the other steps must still be done)
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"[:TRACEBACK_CHARS]
        journal.write(
            "error", step.name, step=step.name, ok=False, said=message, traceback=traceback.format_exc()[-TRACEBACK_CHARS:]
        )
    ok = not bad and not message
    message = message or (f"{len(bad)} of {rows} failed: {', '.join(bad)}"[:TRACEBACK_CHARS] if bad else f"{rows} rows")
    took = round(time.monotonic() - begun, 2)
    journal.write("step", step.name, ok=ok, seconds=took, said=message)
    print(f"-- {step.name}: {'' if ok else 'FAILED: '}{message} ({took:.1f} s)", flush=True)
    return ok


def device_is_lost() -> bool:
    """Whether CUDA calls of this process fail for good, as after an illegal memory access."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
