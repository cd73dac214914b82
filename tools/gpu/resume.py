"""A training that was stopped and resumed beside the one that went straight on: two trainings in this process, not three."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from tarpon.tools.gpu.checks import timed
from tarpon.train import checkpoint, launch

STOP, STEPS = 4, 8


def losses(data: Path | str, folder: Path, words: Sequence[str]) -> tuple[dict[int, float], dict[int, float]]:
    """Losses by step of a straight run, and of one resumed from what the straight one had saved after STOP steps."""
    straight, resumed = folder / "straight", folder / "resumed"
    save = checkpoint.save_last

    def kept(out: Path, *, at: checkpoint.Position, **state: object) -> None:
        save(out, at=at, **state)
        if at.step == STOP:
            shutil.copytree(out, resumed)

    given = [timed(), f"--data={data}", "--log_every=1", f"--save_every={STOP}", f"--steps={STEPS}", *words]
    with mock.patch.object(checkpoint, "save_last", kept):
        trained([*given, f"--out={straight}"])
    trained([*given, f"--out={resumed}", "--resume=true"])
    return told(straight), told(resumed)


def trained(words: Sequence[str]) -> None:
    status = launch.main(list(words))
    if status:
        raise RuntimeError(f"the training left with status {status}")


def told(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def apart(straight: dict[int, float], resumed: dict[int, float]) -> float:
    """Mean difference of the losses after the stop, as a share of what one step makes; NaN where steps are missing.

    Atomic additions make two runs differ a little; other samples or lost state would make them differ as steps do.
    """
    after = range(STOP + 1, STEPS + 1)
    if not set(after) <= straight.keys() & resumed.keys():
        return float("nan")
    one, two = (np.array([found[step] for step in after]) for found in (straight, resumed))
    before = np.array([straight[step - 1] for step in after])
    return float(np.abs(one - two).mean() / np.abs(before - two).mean())
