"""`tarpon selftest resume`: a training killed at random moments and gone on with must end as one that was never stopped."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tarpon.tools.tasks import part_of_task

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)  # drawn from: half of them cannot be heard
PART = 20  # optimizer steps a kill, so that each meets a part of the training of its own
COMMON = (
    "--engine.dtype=fp32", "--loader.threads=1", "--log_every=1", "--save_every=3", "--eval_every=3", "--epochs=1000000",
    "--early_stop_patience=0",
)  # fmt: skip
SHOWN = 10  # last lines shown of a training that failed


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What two trainings left, compared."""

    tensors: int
    different: list[str]  # names of tensors, or of what else is not the same

    def __str__(self) -> str:
        if self.different:
            return f"{len(self.different)} of {self.tensors} differ: {', '.join(self.different[:5])}"
        return f"{self.tensors} tensors, bit for bit, and every step logged once with the same loss"


def resume(*, task: str, kills: int = 10, seed: int = 0, out: str | None = None) -> int:
    """Train twice on tiny data that are made here: straight, and killed and gone on with; compare what both end with.

    One process on the CPU in fp32. Weights, optimizer state and averages must be the same bit for bit.

    Args:
        task: which training.
        kills: how often the second is ended, at random steps, by a signal that cannot be heard (half of them) or can.
        seed: of the moments and the signals.
        out: folder to work in and keep; unset: one that is removed.
    """
    if kills < 1:
        raise ValueError(f"kills={kills} must be at least 1")
    prepare = part_of_task(task, "selftest", where=f"task={task}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(out or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ValueError(f"out={folder} must be an empty folder")
        steps = PART * (kills + 1)
        words = [task, *prepare(folder), *COMMON, f"--steps={steps}", "--name=run"]
        straight, killed = folder / "straight", folder / "killed"
        finish(start(words, straight))
        met = kill_and_go_on(words, killed, kills=kills, draw=random.Random(seed))
        ends = compare(straight / "run", killed / "run", steps=steps)
    print(f"{task}: {steps} steps, ended {len(met)} times ({', '.join(met)})")
    print(f"{task}: {ends}")
    return 1 if ends.different or len(met) < kills else 0


def kill_and_go_on(words: list[str], out: Path, *, kills: int, draw: random.Random) -> list[str]:
    """Start, end and start again the same command, until it is left alone to its end; how and where it was ended."""
    met = []
    for number in range(kills):
        process, goal = start(words, out), PART * number + draw.randrange(1, PART)
        while process.poll() is None and last_step(out / "run" / "metrics.jsonl") < goal:
            time.sleep(0.001)
        time.sleep(draw.random() * 0.05)  # in whatever it is at then: a step, an evaluation, a checkpoint
        chosen = draw.choice(SIGNALS)
        process.send_signal(chosen)
        said = process.communicate()[0]
        if process.returncode == 0:  # it was through before it was reached
            break
        if process.returncode not in (-chosen, 128 + chosen):  # the first before it listens, too
            raise ValueError(f"the training left with status {process.returncode} after {chosen.name}: {tail(said)}")
        met.append(f"{chosen.name} after step {last_step(out / 'run' / 'metrics.jsonl')}")
    finish(start(words, out))
    return met


def start(words: list[str], out: Path) -> subprocess.Popen:
    launch = find_spec("tarpon.train.launch").origin  # found, not imported: importing it would load DeepSpeed here
    command = [sys.executable, launch, *words, f"--out={out}"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen) -> None:
    """ValueError with its last words when it does not end well."""
    said, _ = process.communicate()
    if process.returncode:
        raise ValueError(f"a training left with status {process.returncode}: {tail(said)}")


def tail(said: str) -> str:
    return " | ".join([line for line in said.splitlines() if line.strip()][-SHOWN:])


def last_step(log: Path) -> int:
    """The last step that a log tells whole; 0 where there is none."""
    if not log.exists():
        return 0
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        *lines, _ = file.read().split(b"\n")
    return max((json.loads(line)["step"] for line in lines if line.startswith(b"{") and b'"loss"' in line), default=0)


def compare(straight: Path, killed: Path, *, steps: int) -> Ends:
    """The newest checkpoints, and the losses of every step."""
    import torch

    from tarpon.train.checkpoint import LAST, load_tensors

    (one, _), (other, _) = load_tensors(straight / LAST), load_tensors(killed / LAST)
    different = sorted(one.keys() ^ other.keys())
    different += [name for name in one.keys() & other.keys() if not torch.equal(one[name], other[name])]
    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (straight, killed)]
    losses = [[(line["step"], line["loss"]) for line in told if "loss" in line] for told in lines]
    if [step for step, _ in losses[1]] != list(range(1, steps + 1)):
        different.append("steps of metrics.jsonl")
    elif losses[0] != losses[1]:
        different.append("losses of metrics.jsonl")
    return Ends(tensors=len(one), different=different)
