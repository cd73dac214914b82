"""Two "nodes" on this machine: two launchers that meet over the loopback train as one launcher of two processes does."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "--model.hidden=16",
    "--model.tower=16",
    "--model.experts=2",
    "--micro_batch=8",
    "--global_batch=16",
    "--steps=6",
    "--early_stop_patience=0",
    "--log_every=1",
)
OWN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(command: list[str], out: Path) -> subprocess.Popen:
    env = {name: value for name, value in os.environ.items() if name not in OWN} | {"OMP_NUM_THREADS": "1"}
    words = [*command, "train/launch.py", "fish", f"--data={out.parent / 'features'}", f"--out={out}", "--name=run", *SMALL]
    with (out.parent / f"said-{out.name}.txt").open("a") as said:
        return subprocess.Popen(words, cwd=ROOT, env=env, stdout=said, stderr=said)


def losses(run: Path) -> dict[int, float]:
    """Step -> the loss of training there; a step that two processes wrote would stand twice."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    told = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    assert len(told) == len(dict(told))
    return dict(told)


def written(run: Path) -> list[str]:
    """Files of a run folder; TensorBoard's have the time in their names."""
    return sorted(re.sub(r"tfevents.*", "tfevents", path.relative_to(run).as_posix()) for path in run.rglob("*"))


def test_two_launchers_write_one_run_of_the_same_losses(problems, tmp_path):
    problems.write_features(tmp_path / "features")
    programs = Path(sys.executable).parent
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    nodes = [start([str(programs / "torchrun"), *meeting, f"--node-rank={n}"], tmp_path / "nodes") for n in range(2)]
    try:
        ended = [node.wait(300) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    said = (tmp_path / "said-nodes.txt").read_text()
    assert ended == [0, 0], said[-3000:]
    one = start([str(programs / "deepspeed"), "--num_accelerators=2", f"--master_port={free_port()}"], tmp_path / "one")
    assert one.wait(300) == 0, (tmp_path / "said-one.txt").read_text()[-3000:]
    assert [folder.name for folder in (tmp_path / "nodes").iterdir()] == ["run"]
    found, want = losses(tmp_path / "nodes" / "run"), losses(tmp_path / "one" / "run")
    assert list(found) == list(want) == list(range(1, 7))
    assert found == pytest.approx(want, rel=1e-6)
    assert written(tmp_path / "nodes" / "run") == written(tmp_path / "one" / "run")
    assert said.count("steps     ") == 1  # by rank 0 alone
