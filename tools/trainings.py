"""Trainings as child processes, for commands that need many: each is done once and resumed after a kill."""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

SHOWN = 10  # last lines shown of a training that failed


def train_and_score(task: str, out: Path, words: Sequence[str]) -> dict[str, float]:
    """Test scores of a run, which is trained first unless it already is. ValueError where the training fails."""
    return train_once(task, out, words)["test"]


def train_once(task: str, out: Path, words: Sequence[str]) -> dict:
    """Content of metrics.json of a run, which is trained first unless it already is.

    Args:
        task: name in TASKS.
        out: the run folder.
        words: options of the training beside --out and --resume.

    Raises:
        ValueError: the training failed; with its last lines.
    """
    if not (out / "metrics.json").exists():
        resume = ["--resume=true"] if (out / "checkpoints" / "last.safetensors").exists() else []
        if not resume:
            (out / "metrics.jsonl").unlink(missing_ok=True)  # of a run that was ended before its first checkpoint
        launch = find_spec("tarpon.train.launch").origin  # found, not imported: importing it would load DeepSpeed here
        done = subprocess.run(
            [sys.executable, launch, task, *words, f"--out={out}", *resume], capture_output=True, text=True, check=False
        )
        if done.returncode:
            output = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise ValueError(f"training {out.name} left with status {done.returncode}: {' | '.join(output[-SHOWN:])}")
    return json.loads((out / "metrics.json").read_text())
