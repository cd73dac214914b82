"""A command within a time limit, watched for the memory it takes; it leaves nothing running."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tarpon.tools.bench import results as bench

WATCH_S = 2.0  # between two looks at the memory; adding up a process tree takes a few milliseconds
END_S = 5.0  # between asking and forcing
SHOWN = 20  # last lines shown of a command that failed


class Failed(RuntimeError):
    """A command did not do what it was asked."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Memory of a command and all below it, in MiB; looked at every WATCH_S."""

    host: float
    gpu: float | None  # of the whole device over what it held before; None without one


def call(words: Sequence[str], *, seconds: float, cwd: Path | None = None, allowed: Sequence[int] = (0,)) -> Peak:
    """Run a command to its end; Failed when it takes longer or leaves with a status that is not allowed."""
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        # a session of its own: with it everything the command starts can be ended
        process = subprocess.Popen(
            list(words), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=cwd, start_new_session=True
        )
        try:
            peak = _watch(process, until=begun + seconds)
        finally:
            _end(process)
        late = peak is None
        if not late and process.returncode in allowed:
            return peak
        log.seek(0)
        lines = [line for line in log.read().splitlines() if line.strip()]
    print("\n".join(f"  | {line}" for line in lines[-SHOWN:]), file=sys.stderr, flush=True)
    what = " ".join(Path(word).name for word in words[1:4])
    how = f"was ended after {seconds:.0f} s" if late else f"left with status {process.returncode}"
    raise Failed(f"{what} {how}: {lines[-1].strip()[:300] if lines else 'it said nothing'}")


def gpu_used_mib() -> float | None:
    """Memory in use on the device, by everybody; None without one."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**20


def _watch(process: subprocess.Popen, *, until: float) -> Peak | None:
    """Peaks once it has ended; None when it has not by then."""
    before, host, gpu = gpu_used_mib(), 0.0, 0.0
    while True:
        host = max(host, bench.tree_peak_mib(process.pid))
        if before is not None:
            gpu = max(gpu, gpu_used_mib() - before)
        left = until - time.monotonic()
        if left <= 0:
            return None
        try:
            process.wait(min(WATCH_S, left))
        except subprocess.TimeoutExpired:
            continue
        return Peak(host=host, gpu=None if before is None else gpu)


def _end(process: subprocess.Popen) -> None:
    """End the command's whole session, also what it left behind."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
