"""A short training of the mouse task from shards, as people start it, and its speed once it goes steadily."""

import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tarpon.tools.gpu.child import ProcessFailed, run_checked

LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")
ROOMY_GIB = 40  # of GPU memory: 360 frames of 224 pixels through a ViT-S keep about 20 GiB for the backward


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A short run of the mouse task; both ways of training, from shards and on a resident batch, make exactly these steps."""

    backbone: str = "vit_small_patch14_dinov2.lvd142m"
    size: int = 224  # pixels
    frames: int = 180  # of a window
    batch: int = 2  # windows
    steps: int = 60
    warm_up: int = 20  # steps that are not counted
    log_every: int = 10  # steps
    dtype: str = "bf16"
    frames_per_pass: int | None = None  # through the backbone at once

    def __post_init__(self) -> None:
        if self.warm_up % self.log_every or self.steps % self.log_every or self.warm_up >= self.steps:
            raise ValueError(
                f"warm_up={self.warm_up} and steps={self.steps} must be multiples of log_every={self.log_every}, "
                f"the first below the second"
            )

    @classmethod
    def on(cls, gpu_gib: float) -> "Workload":
        """For a GPU with this much memory."""
        return cls(frames_per_pass=None if gpu_gib >= ROOMY_GIB else 60)

    def options(self, shards: Path, out: Path) -> list[str]:
        """The training's options."""
        return [f"--data={shards}", f"--out={out}", *self.settings()]

    def settings(self) -> list[str]:
        """The same options without `--data` and `--out`."""
        values = {
            "steps": self.steps,
            "micro_batch": self.batch,
            "global_batch": self.batch,
            "log_every": self.log_every,
            "eval_every": 10**6,
            "freeze_backbone_epochs": 0,
            "early_stop_patience": 0,
            "engine.dtype": self.dtype,
            "model.backbone.name": self.backbone,
            "model.backbone.pretrained": "false",
            "model.backbone.image_size": self.size,
            "window.train_frames": self.frames,
            "window.val_frames": max(self.frames, 180),  # few windows: what follows the training is not timed
        }
        if self.frames_per_pass is not None:
            values["model.backbone.frames_per_pass"] = self.frames_per_pass
        return [f"--{name}={value}" for name, value in values.items()]


def train_in_child(shards: Path, out: Path, work: Workload, *, seconds: float) -> dict:
    """Frames a second after the warm-up, the share of time it waited for data, peaks of memory."""
    # found, not imported: importing it would load DeepSpeed here
    launch = importlib.util.find_spec("tarpon.train.launch").origin
    words = [sys.executable, launch, "mouse", *work.options(shards, out)]
    ended = run_checked(words, seconds=seconds, env=clean_environment())
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "unit": "frames",
        **summarise_speed(lines, warm_up=work.warm_up),
        "peak_mib": ended.host_mib,
        "gpu_mib": ended.gpu_mib,
    }


def clean_environment() -> dict[str, str]:
    """This environment without the variables by which a launcher makes a process one of many."""
    return {name: value for name, value in os.environ.items() if name not in LAUNCHED}


def summarise_speed(lines: Iterable[dict], *, warm_up: int) -> dict[str, float]:
    """Frames a second, and the share of time spent waiting for data, after the warm-up; from lines of equally many steps."""
    counted = [line for line in lines if line["step"] > warm_up and "frames_per_s" in line]
    if not counted:
        raise ProcessFailed(f"the run logged no speed after step {warm_up}")
    seconds = [1 / line["frames_per_s"] for line in counted]  # a frame
    waited = [line["loader/wait_share"] * each for line, each in zip(counted, seconds, strict=True)]
    return {"per_second": len(seconds) / sum(seconds), "wait_share": sum(waited) / sum(seconds)}
