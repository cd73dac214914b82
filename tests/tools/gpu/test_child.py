"""A command's output is kept as it comes, and the command leaves nothing running."""

import sys
import time
from pathlib import Path

import pytest

from tarpon.tools.gpu import child
from tarpon.tools.gpu.child import Log, ProcessFailed, run_checked, run_process


def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path):
    """Parent and child each write their process id."""
    begun, pid_file, said = time.monotonic(), tmp_path / "pids", []
    code = (
        f"import os, time; os.fork(); open({str(pid_file)!r}, 'a').write(f'{{os.getpid()}}\\n'); "
        "os.write(1, b'begun\\n'); time.sleep(60)"
    )
    ended = run_process([sys.executable, "-c", code], seconds=8, write=said.append)
    assert ended.status is None
    assert ended.last == "begun"
    assert b"".join(said).count(b"begun") == 2
    assert time.monotonic() - begun < 40  # not the 60 s that it meant to sleep
    pids = [int(line) for line in pid_file.read_text().splitlines()]
    assert len(pids) == 2
    time.sleep(0.2)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_is_measured_and_its_failure_told_by_its_last_line():
    ended = run_process([sys.executable, "-c", "import time; held = b'1' * (200 * 2**20); time.sleep(3)"], seconds=30)
    assert ended.status == 0
    assert ended.host_mib > 200
    with pytest.raises(ProcessFailed, match="left with status 3: the end"):
        run_checked([sys.executable, "-c", "print('the end'); raise SystemExit(3)"], seconds=30, watch=False)
    with pytest.raises(ProcessFailed, match="was ended by signal 9: it said nothing"):
        run_checked([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], seconds=30, watch=False)


def test_all_output_is_in_the_log_also_that_of_a_command_that_fails(tmp_path):
    log = Log(tmp_path / "deep" / "gpu.log")
    code = "import sys; print('x' * 50_000); print('last words', file=sys.stderr); sys.exit(1)"
    assert run_process([sys.executable, "-c", code], seconds=30, write=log.write, watch=False).status == 1
    kept = (tmp_path / "deep" / "gpu.log").read_text()
    assert kept.count("x") == 50_000
    assert "last words" in kept


def test_a_log_stays_below_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(child, "LOG_BYTES", 100)
    log = Log(tmp_path / "gpu.log")
    for _ in range(10):
        log.write(b"y" * 30)
    assert (tmp_path / "gpu.log").read_bytes().count(b"y") == 100
    log = Log(tmp_path / "gpu.log")  # a later part adds nothing either
    log.write(b"y")
    assert (tmp_path / "gpu.log").read_bytes().count(b"y") == 100
