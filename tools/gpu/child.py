"""Runs a command within a time limit: output passed on as it comes, peak memory measured, no process left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tarpon.tools.bench import results

WATCH_S = 2.0  # between two looks at the memory; adding up a process tree takes a few milliseconds
END_S = 5.0  # between asking and forcing
LOG_BYTES = 12 * 2**20  # of a log; what comes after is shown but not kept


class ProcessFailed(RuntimeError):
    """A command left with an error, or its time was over."""


@dataclass(frozen=True, kw_only=True)
class ProcessResult:
    """How a command ended, and what memory it took."""

    status: int | None  # None: it was ended for its time; below 0: by that signal
    host_mib: float  # peak of the command and all below it, looked at every WATCH_S
    gpu_mib: float | None  # of the whole device over what it held before; None where it was not looked at
    last: str  # its last line


class Log:
    """An unbuffered log file whose content is also printed; a killed process loses nothing of it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (open as long as the process)
        self._left = LOG_BYTES - self._file.tell()

    def write(self, content: bytes) -> None:
        write_stdout(content)
        if self._left > 0:
            self._file.write(content[: self._left])
            self._left -= len(content)
            if self._left <= 0:
                self._file.write(b"\n(the log is full)\n")


def write_stdout(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def run_process(
    words: Sequence[str],
    *,
    seconds: float,
    write: Callable[[bytes], object] = write_stdout,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    watch: bool = True,
) -> ProcessResult:
    """Run a command until it ends or its time is over.

    Args:
        write: what to do with its output, standard and error, as it comes.
        watch: for its memory.
    """
    until = time.monotonic() + seconds
    # a session of its own: with it everything the command starts can be ended
    process = subprocess.Popen(
        list(words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env=None if env is None else dict(env),
        start_new_session=True,
    )
    last: deque[str] = deque(maxlen=1)
    pump = threading.Thread(target=_pump, args=(process, write, last), daemon=True)
    pump.start()
    try:
        host, gpu, late = _watch(process, until=until, watch=watch)
    finally:
        _end(process)
        pump.join(END_S)
    return ProcessResult(
        status=None if late else process.returncode, host_mib=host, gpu_mib=gpu, last=last[0] if last else "it said nothing"
    )


def run_checked(words: Sequence[str], *, seconds: float, **options: object) -> ProcessResult:
    """As `run_process`; ProcessFailed unless the command leaves with status 0 in time."""
    ended = run_process(words, seconds=seconds, **options)
    if ended.status != 0:
        what = " ".join(Path(word).name for word in words[1:4])
        raise ProcessFailed(f"{what} {describe_status(ended.status, seconds=seconds)}: {ended.last.strip()[:300]}")
    return ended


def describe_status(status: int | None, *, seconds: float) -> str:
    """An exit status in words; None: the time was over."""
    if status is None:
        return f"was ended after {seconds:.0f} s"
    return f"was ended by signal {-status}" if status < 0 else f"left with status {status}"


def _pump(process: subprocess.Popen, write: Callable[[bytes], object], last: deque[str]) -> None:
    unfinished = b""
    while content := os.read(process.stdout.fileno(), 65536):
        write(content)
        *lines, unfinished = (unfinished + content).split(b"\n")
        last.extend(text for line in lines if (text := line.decode(errors="replace").strip()))
        unfinished = unfinished[-4096:]
    if text := unfinished.decode(errors="replace").strip():
        last.append(text)


def gpu_used_mib() -> float | None:
    """Memory in use on the device, by everybody; None unless this process uses the device itself."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**20


def _watch(process: subprocess.Popen, *, until: float, watch: bool) -> tuple[float, float | None, bool]:
    """Peaks, and whether its time was over before it ended."""
    before = gpu_used_mib() if watch else None
    host, gpu = 0.0, 0.0
    while True:
        if watch:
            host = max(host, results.tree_peak_mib(process.pid))
        if before is not None:
            gpu = max(gpu, gpu_used_mib() - before)
        left = until - time.monotonic()
        if left <= 0:
            return host, None if before is None else gpu, True
        try:
            process.wait(min(WATCH_S, left))
        except subprocess.TimeoutExpired:
            continue
        return host, None if before is None else gpu, False


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
