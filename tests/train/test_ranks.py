"""Two processes: what ends one is named and ends the other, and nobody goes on without the launcher."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "--model.hidden=16",
    "--model.tower=16",
    "--model.experts=2",
    "--micro_batch=8",
    "--global_batch=16",
    "--epochs=1000000",
    "--early_stop_patience=0",
    "--eval_every=1000000",
    "--log_every=1",
    "--engine.rank_timeout_s=4",
)
RAISES = """
import os, sys
from tarpon.train import launch, stepper

real = stepper.advance

def advance(*args, at, **given):
    if os.environ["RANK"] == "1" and at.step == 5:
        raise ValueError("the disk of this machine is gone")
    return real(*args, at=at, **given)

stepper.advance = advance
status = launch.main(sys.argv[1:])
sys.stderr.flush()
os._exit(status)
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def two(problems, tmp_path):
    """(script=) -> a training of two processes under the deepspeed launcher, once it logs; its output goes to a file."""
    data, started = problems.write_features(tmp_path / "features"), []

    def go(script: str = "train/launch.py", *, until_logged: bool = True) -> subprocess.Popen:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launcher = str(Path(sys.executable).with_name("deepspeed"))
        command = [launcher, "--num_accelerators=2", f"--master_port={port}", script, "fish", f"--data={data}"]
        command += [f"--out={tmp_path}", "--name=run", *SMALL]
        own = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")
        env = {name: value for name, value in os.environ.items() if name not in own} | {"OMP_NUM_THREADS": "1"}
        with (tmp_path / "said.txt").open("w") as said:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=said, stderr=said)
        started.append(process)
        log = tmp_path / "run" / "metrics.jsonl"
        while until_logged and process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.2)
        return process

    yield go
    for process in (*started, *trainings(tmp_path)):
        if process.poll() is None if isinstance(process, subprocess.Popen) else process.is_running():
            process.kill()


def trainings(folder: Path) -> list[psutil.Process]:
    """The processes that train into a folder, without the launchers."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if f"--out={folder}" in words and any(word.startswith("--local_rank") for word in words):
            found.append(process)
    return sorted(found, key=lambda process: [word for word in process.cmdline() if word.startswith("--local_rank")])


def wait_for(holds: Callable[[], bool], seconds: float = 120.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.2)
    return holds()


def test_a_process_that_raises_is_named_and_ends_the_other(two, tmp_path):
    script = tmp_path / "raises.py"
    script.write_text(RAISES)
    process = two(str(script), until_logged=False)
    assert process.wait(300) != 0
    said = (tmp_path / "said.txt").read_text()
    lines = [line for line in said.splitlines() if "rank 1 of 2" in line]
    assert len(lines) == 1, said[-3000:]
    assert "step 6, training: ValueError: the disk of this machine is gone" in lines[0]
    assert wait_for(lambda: not trainings(tmp_path))


def test_a_process_that_stands_still_is_named_and_ends_the_run(two, tmp_path):
    process = two()
    _, second = trainings(tmp_path)
    second.suspend()
    assert process.wait(300) != 0
    said = (tmp_path / "said.txt").read_text()
    assert "rank 1 of 2 has not been heard of for" in said, said[-3000:]
    assert wait_for(lambda: not trainings(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_without_its_launcher_nobody_goes_on_and_all_is_saved(two, tmp_path, number):
    process = two()
    process.send_signal(number)  # the command itself: what it started does not hear of it
    process.wait(60)
    assert wait_for(lambda: not trainings(tmp_path))
    said = (tmp_path / "said.txt").read_text()
    assert f"stopped by SIGTERM, saved in {tmp_path / 'run'}" in said, said[-3000:]
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()
    if number == signal.SIGKILL:
        return
    log = tmp_path / "run" / "metrics.jsonl"
    step = json.loads(log.read_text().splitlines()[-1])["step"]
    two(until_logged=False)  # the same command
    assert wait_for(lambda: json.loads(log.read_text().splitlines()[-1])["step"] > step)
    for training in trainings(tmp_path):
        training.send_signal(signal.SIGINT)  # Ctrl-C reaches all of them
    assert wait_for(lambda: not trainings(tmp_path))
    said = (tmp_path / "said.txt").read_text()
    assert f"resume    from step {step} of" in said
    assert "stopped by Ctrl-C, saved" in said
