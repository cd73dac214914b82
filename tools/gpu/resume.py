"""A training that is stopped and resumed beside one that goes straight on: two trainings in this process instead of three."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from tarpon.train import checkpoint, launch

STOP, STEPS = 4, 8  # optimizer steps


def train_both(task: str, data: Path | str, folder: Path, options: Sequence[str]) -> tuple[dict[int, float], dict[int, float]]:
    """Loss by step of a straight run, and of one resumed from the checkpoint that the straight one saved after STOP steps.

    Args:
        folder: for both runs.
        options: of the training, as `--name=value`.
    """
    straight, resumed = folder / "straight", folder / "resumed"
    save = checkpoint.save_last

    def save_and_copy(out: Path, *, at: checkpoint.Position, **state: object) -> None:
        save(out, at=at, **state)
        if at.step == STOP:
            shutil.copytree(out, resumed)

    words = [task, f"--data={data}", "--log_every=1", f"--save_every={STOP}", f"--steps={STEPS}", *options]
    with mock.patch.object(checkpoint, "save_last", save_and_copy):
        train([*words, f"--out={straight}"])
    train([*words, f"--out={resumed}", "--resume=true"])
    return read_losses(straight), read_losses(resumed)


def train(words: Sequence[str]) -> None:
    """`train/launch.py` in this process; RuntimeError when it fails."""
    status = launch.main(list(words))
    if status:
        raise RuntimeError(f"the training left with status {status}")


def read_losses(run: Path) -> dict[int, float]:
    """Optimizer step -> loss, from the log of a run folder."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def relative_difference(straight: dict[int, float], resumed: dict[int, float]) -> float:
    """Mean difference of the losses after the stop, as a share of what one step changes; NaN where steps are missing.

    Atomic additions make two runs differ a little; other samples or lost state would make them differ as steps do.
    """
    after = range(STOP + 1, STEPS + 1)
    if not set(after) <= straight.keys() & resumed.keys():
        return float("nan")
    one, two = (np.array([losses[step] for step in after]) for losses in (straight, resumed))
    before = np.array([straight[step - 1] for step in after])
    return float(np.abs(one - two).mean() / np.abs(before - two).mean())
