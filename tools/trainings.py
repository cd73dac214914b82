"""A training as a child process, for tools that need many: done once, gone on with after a kill."""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

SHOWN = 10  # last lines shown of a training that failed


def trained(task: str, out: Path, words: Sequence[str]) -> dict[str, float]:
    """Test scores of a run that is trained unless it already is."""
    return finished(task, out, words)["test"]


def finished(task: str, out: Path, words: Sequence[str]) -> dict:
    """metrics.json of a run that is trained unless it already is."""
    if not (out / "metrics.json").exists():
        resume = ["--resume=true"] if (out / "checkpoints" / "last.safetensors").exists() else []
        if not resume:
            (out / "metrics.jsonl").unlink(missing_ok=True)  # of a run that was ended before its first checkpoint
        launch = find_spec("tarpon.train.launch").origin  # found, not imported: importing it would load DeepSpeed here
        done = subprocess.run(
            [sys.executable, launch, task, *words, f"--out={out}", *resume], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise ValueError(f"training {out.name} left with status {done.returncode}: {' | '.join(said[-SHOWN:])}")
    return json.loads((out / "metrics.json").read_text())
