"""The parts by name, and one part run in a process of its own, again where it ended that process."""

import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tarpon.tools.gpu.child import Log, describe_status, run_process
from tarpon.tools.gpu.journal import Journal, read_rows
from tarpon.tools.gpu.step_runner import FAILED, Step

LOG = "gpu.log"
MIN_S = 5.0  # a part is not begun with less time left
TRIES = 8  # a part that ended its process is begun anew, past the step that did it


@dataclass(frozen=True, kw_only=True)
class Part:
    """One group of steps, a module of this folder with `steps()`."""

    seconds: float  # given to it where not said
    does: str
    needs: str

    @staticmethod
    def steps(name: str) -> list[Step]:
        return importlib.import_module(f"tarpon.tools.gpu.{name}").steps()


PARTS = {
    "kernels": Part(
        seconds=200, does="machine, ceilings, fused operations against float64, their times", needs="PyTorch, Triton"
    ),
    "pipelines": Part(seconds=120, does="what is decoded, batches beside the CPU's, frames/s by codec", needs="all, shards"),
    "train": Part(
        seconds=165, does="frames/s resident and from shards, freezing, a resume, the head as graphs", needs="all, shards"
    ),
    "tests": Part(seconds=150, does="the tests marked gpu", needs="all, pytest"),
}


def run_part(name: str, *, out: Path, seconds: float, device: str, shards: Path | None, log: Log) -> bool:
    """Run a part in a process of its own, again past a step that ended the process; True when all of it was well.

    Args:
        seconds: after which it is ended.
    """
    begun, ends = time.time(), time.monotonic() + seconds
    log.write(f"== {name}: {seconds:.0f} s, {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
    words = [sys.executable, "-u", "-m", f"tarpon.tools.gpu.{name}", f"--out={out}", f"--device={device}", f"--since={begun}"]
    words += [] if shards is None else [f"--shards={shards}"]
    status: int | None = None
    died = False
    for _ in range(TRIES):
        left = ends - time.monotonic()
        if left < min(MIN_S, seconds):
            break
        tried = count_attempts(out, name, since=begun)
        status = run_process([*words, f"--seconds={left}"], seconds=left, write=log.write, watch=False).status
        ending = describe_status(status, seconds=seconds)
        if status in (0, FAILED, None):
            break
        died = True
        record_unfinished(out, name, since=begun, said=ending)
        if count_attempts(out, name, since=begun) == tried:
            break  # it did not come to a step
        log.write(f"== {name} {ending}: it goes on after that step\n".encode())
    if status is None:
        record_unfinished(out, name, since=begun, said=f"ended after {seconds:.0f} s")
    elif status not in (0, FAILED):
        Journal(out, name).write("error", name, ok=False, said=describe_status(status, seconds=seconds))
    well = status == 0 and not died
    log.write(f"== {name}: {'well' if well else describe_status(status, seconds=seconds)}\n".encode())
    return well


def count_attempts(out: Path, part: str, *, since: float) -> int:
    """Number of steps begun since then."""
    return sum(row["kind"] == "begin" and row["at"] >= since for row in read_rows(out / f"{part}.jsonl"))


def record_unfinished(out: Path, part: str, *, since: float, said: str) -> None:
    """Write a failed row for every step that was begun since and has not ended."""
    rows = [row for row in read_rows(out / f"{part}.jsonl") if row["at"] >= since]
    ended = {row["name"] for row in rows if row["kind"] == "step"}
    journal = Journal(out, part)
    for name in dict.fromkeys(row["name"] for row in rows if row["kind"] == "begin"):
        if name not in ended:
            journal.write("step", name, ok=False, seconds=None, said=f"its process {said}")
