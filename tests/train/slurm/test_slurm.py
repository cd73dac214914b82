"""The job scripts: what they would start, told by stand-ins for SLURM's and the launchers' own commands."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "train" / "slurm"
SLURM = {
    "SLURM_JOB_ID": "40007",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_NNODES": "2",
    "SLURM_GPUS_ON_NODE": "4",
    "SLURM_CPUS_PER_TASK": "32",
}


def started(
    tmp_path: Path, script: str, *first: str, words: tuple[str, ...] = (), **change: str
) -> subprocess.CompletedProcess:
    """The script in an empty place, where every command prints its words and srun starts what it is given."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    bodies = {
        "deepspeed": 'echo deepspeed "$@"',
        "torchrun": 'echo torchrun "$@"; echo "LOCAL_SIZE=$LOCAL_SIZE"',
        "scontrol": "printf 'n1\\nn2\\n'",
        "srun": 'while [[ $1 == --* ]]; do shift; done; "$@"',
    }
    for name, body in bodies.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (programs / name).chmod(0o755)
    env = {"PATH": os.environ["PATH"], "SLURM_SUBMIT_DIR": str(tmp_path), **SLURM, **change}
    command = ["bash", str(SCRIPTS / script), *first, "cells", "--data", "my shards", "--epochs=3", *words]
    return subprocess.run(command, env={k: v for k, v in env.items() if v}, capture_output=True, text=True, check=False)


def test_one_node_runs_the_plain_command(tmp_path):
    done = started(tmp_path, "single_node.sh")
    assert done.stdout.split("\n")[0] == "deepspeed --master_port 20007 train/launch.py cells --data my shards --epochs=3"
    assert done.returncode == 0


def test_several_nodes_meet_at_the_first(tmp_path):
    done = started(tmp_path, "multi_node.sh")
    assert done.returncode == 0, done.stderr
    command, size, _ = done.stdout.split("\n")
    assert command.endswith("train/launch.py cells --data my shards --epochs=3")
    assert {"--nnodes=2", "--nproc-per-node=4", "--rdzv-endpoint=n1:20007", "--rdzv-id=40007"} <= set(command.split())
    assert size == "LOCAL_SIZE=4"


@pytest.mark.parametrize("out", [("--out", "my runs"), ("--out=my runs",)])
def test_each_number_of_an_array_has_its_own_folder_and_option(tmp_path, out):
    done = started(tmp_path, "array.sh", "fold", SLURM_ARRAY_TASK_ID="3", words=out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == (
        "deepspeed --master_port 20007 train/launch.py cells --data my shards --epochs=3 --out my runs/fold-3 --fold 3"
    )


@pytest.mark.parametrize(
    ("script", "gone", "said"),
    [
        ("single_node.sh", "SLURM_SUBMIT_DIR", "sbatch"),
        ("multi_node.sh", "SLURM_GPUS_ON_NODE", "gpus-per-node"),
        ("array.sh", "SLURM_ARRAY_TASK_ID", "--array"),
    ],
)
def test_what_is_missing_is_said(tmp_path, script, gone, said):
    done = started(tmp_path, script, **{gone: ""})
    assert done.returncode != 0
    assert said in done.stderr


def test_nothing_names_a_site():
    for path in SCRIPTS.glob("*.sh"):
        asked = [line for line in path.read_text().splitlines() if line.startswith("#SBATCH")]
        assert not any(word in line for line in asked for word in ("partition", "account", "qos", "mail"))
