"""A hostfile is read as DeepSpeed reads it, and its mistakes are told by line."""

import subprocess
from pathlib import Path

import pytest

from tarpon.tools import cli, hosts
from tarpon.tools.hosts import ask, read_hosts


@pytest.fixture
def hostfile(tmp_path):
    def write(text: str) -> Path:
        (tmp_path / "hostfile").write_text(text)
        return tmp_path / "hostfile"

    return write


def test_machines_come_in_their_order(hostfile):
    assert read_hosts(hostfile("# our machines\n\ngpu02   slots=4 # the new one\n gpu01 slots=8\n")) == {"gpu02": 4, "gpu01": 8}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu01 slots=4\ngpu02", ":2: 'gpu02' must be HOST slots=GPUS"),
        ("gpu01 slots=0", ":1: 'gpu01 slots=0' must be HOST slots=GPUS"),
        ("gpu01 slots=4\n\ngpu01 slots=4", ":3: gpu01 stands in an earlier line"),
        ("# none\n", ": names no machine"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(hostfile, text, said):
    with pytest.raises(ValueError, match=said):
        read_hosts(hostfile(text))


def test_deepspeed_reads_the_same(hostfile):
    runner = pytest.importorskip("deepspeed.launcher.runner")
    file = hostfile("# our machines\n\ngpu02   slots=4 # the new one\n gpu01 slots=8\n")
    assert dict(runner.fetch_hostfile(str(file))) == read_hosts(file)


def test_doctor_says_in_one_line_what_keeps_a_hostfile_from_working(hostfile, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["doctor", "--hostfile", str(hostfile("gpu01 slots=4"))]) == 2
    assert cli.main(["doctor", "--hostfile", str(tmp_path / "none")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("tarpon: a hostfile needs ssh, which is not on this machine")
    assert "torchrun or SLURM (docs/scale.md" in first
    assert second == f"tarpon: hostfile={tmp_path}/none: No such file or directory"


def test_a_machine_that_is_silent_is_not_waited_for(monkeypatch):
    def wait(words, *, timeout, **_):
        raise subprocess.TimeoutExpired(words, timeout)

    monkeypatch.setattr(hosts.subprocess, "run", wait)
    assert ask("gpu01") == "no answer in 30 s"
