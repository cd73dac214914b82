"""`tarpon train`: the training's own command line, and the launcher before it where there are several devices."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tarpon.tools import cli, train

LAUNCH = find_spec("tarpon.train.launch").origin


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """(text, programs) -> a hostfile; PATH holds these programs alone, which end with a status and a word on the machine."""

    def make(text: str, *, programs: dict[str, int]) -> Path:
        (folder := tmp_path / "bin").mkdir()
        for name, status in programs.items():
            # as ssh is called: -o OPTION -o OPTION HOST true
            (folder / name).write_text(f'#!/bin/sh\n[ {status} = 0 ] || echo "{name}: $5 is away" >&2\nexit {status}\n')
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        (tmp_path / "hostfile").write_text(text)
        return tmp_path / "hostfile"

    return make


@pytest.fixture
def start(monkeypatch):
    """(devices, words) -> (the command that takes the process's place or None, exit status)."""
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)

    def go(devices: int, *words: str) -> tuple[list[str] | None, int]:
        started = []
        monkeypatch.setattr(train, "count_devices", lambda: devices)
        monkeypatch.setattr(train.os, "execv", lambda path, command: started.append((path, command)))
        status = cli.main(["train", *words])
        assert all(path == command[0] for path, command in started)
        return (started[0][1] if started else None), status

    return go


def test_one_device_is_trained_on_without_a_launcher(start, mouse_shards):
    words = ["mouse", f"--data={mouse_shards.root}", "--epochs=1"]
    assert start(1, *words) == ([sys.executable, LAUNCH, *words], 0)


def test_several_devices_get_a_process_each(start, mouse_shards):
    words = ["mouse", f"--data={mouse_shards.root}", "--global_batch=8"]
    launcher = ["-m", "deepspeed.launcher.runner", "--num_accelerators", "4"]
    assert start(4, *words) == ([sys.executable, *launcher, "--quiet", LAUNCH, *words], 0)
    assert start(4, *words, "--verbose=true") == ([sys.executable, *launcher, LAUNCH, *words, "--verbose=true"], 0)


@pytest.mark.parametrize("option", [["--hostfile", "{file}"], ["--hostfile={file}"]])
def test_a_hostfile_is_handed_to_the_launcher_once_its_machines_answer(start, hosts, mouse_shards, option):
    file = hosts("gpu01 slots=2\ngpu02 slots=2\n", programs={"ssh": 0, "pdsh": 0})
    words = ["mouse", f"--data={mouse_shards.root}", "--global_batch=8"]
    given = [word.format(file=file) for word in option]
    expected = [sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile", str(file), "--quiet", LAUNCH, *words]
    assert start(1, *words, *given) == start(1, *given, *words) == (expected, 0)


@pytest.mark.parametrize(
    ("text", "programs", "said"),
    [
        (
            "gpu01 slots=2\ngpu02 slots=2",
            {},
            "a hostfile needs ssh, which is not on this machine: apt-get install openssh-client",
        ),
        (
            "gpu01 slots=2\ngpu02 slots=2",
            {"ssh": 0},
            "a hostfile needs pdsh, which is not on this machine: apt-get install pdsh",
        ),
        (
            "gpu01 slots=2",
            {"ssh": 255},
            "1 of 1 machines are not reached by ssh without a password: gpu01 (ssh: gpu01 is away)",
        ),
        ("gpu01 slots=3", {"ssh": 0}, "global_batch=8 must be a multiple of micro_batch x processes = 2 x 3"),
    ],
)
def test_what_a_hostfile_lacks_is_one_line_before_anything_is_started(start, hosts, mouse_shards, text, programs, said, capsys):
    file = hosts(text, programs=programs)
    words = ["mouse", f"--data={mouse_shards.root}", "--global_batch=8", f"--hostfile={file}"]
    assert start(1, *words) == (None, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tarpon train: {said}")


def test_a_hostfile_is_refused_where_another_launcher_started_the_process_or_no_file_is_named(
    start, hosts, mouse_shards, monkeypatch, capsys
):
    file, words = hosts("gpu01 slots=2", programs={"ssh": 0}), ["mouse", f"--data={mouse_shards.root}"]
    assert start(1, *words, "--hostfile") == (None, 2)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert start(1, *words, f"--hostfile={file}") == (None, 2)
    first, second = capsys.readouterr().err.splitlines()
    assert "needs a file" in first
    assert "has started this process already" in second


def test_a_process_that_another_launcher_started_is_one_of_its_own(start, mouse_shards, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    words = ["mouse", f"--data={mouse_shards.root}"]
    assert start(2, *words)[0] == [sys.executable, LAUNCH, *words]


@pytest.mark.parametrize(
    ("devices", "words", "said"),
    [
        (1, ["--epoch=1"], "no option --epoch; near: --epochs"),
        (3, ["--global_batch=8"], "global_batch=8 must be a multiple of micro_batch x processes = 2 x 3"),
    ],
)
def test_mistakes_start_nothing(start, mouse_shards, devices, words, said, capsys):
    assert start(devices, "mouse", f"--data={mouse_shards.root}", *words) == (None, 2)
    assert capsys.readouterr().err.startswith(f"tarpon train: {said}")


def test_a_machine_without_several_gpus_is_known_without_pytorch(monkeypatch):
    monkeypatch.setattr(train, "glob", lambda pattern: ["/dev/nvidia0"])
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would raise
    assert train.count_devices() == 1


def test_the_program_is_a_file_that_python_runs():
    assert Path(LAUNCH).name == "launch.py"
