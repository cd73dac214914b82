"""How fast training goes from shards, beside the same steps on one batch that stays on the device."""

import importlib.util
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tarpon.shards import atomic
from tarpon.tools.gpu_command import Failed, call

ROOMY_GIB = 40  # of GPU memory: 360 frames of 224 pixels through a ViT-S keep about 20 GiB for the backward


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A short run of the mouse task; both ways of training make exactly these steps."""

    backbone: str = "vit_small_patch14_dinov2.lvd142m"
    size: int = 224  # pixels
    frames: int = 180  # of a window
    batch: int = 2  # windows
    steps: int = 120
    warm_up: int = 40  # steps that are not counted
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

    def words(self, shards: Path, out: Path) -> list[str]:
        """The training's options."""
        options = {
            "data": shards,
            "out": out,
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
            "window.val_frames": self.frames,
        }
        if self.frames_per_pass is not None:
            options["model.backbone.frames_per_pass"] = self.frames_per_pass
        return [f"--{name}={value}" for name, value in options.items()]


def trained(shards: Path, out: Path, work: Workload, *, seconds: float) -> dict:
    """A row of the benchmark: training as people start it, from decoding to the optimizer; and the share of time it waited."""
    # found, not imported: importing it would load DeepSpeed here
    launch = importlib.util.find_spec("tarpon.train.launch").origin
    peak = call([*launcher(), launch, "mouse", *work.words(shards, out)], seconds=seconds)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {"unit": "frames", **steady(lines, warm_up=work.warm_up), "peak_mib": peak.host, "gpu_mib": peak.gpu}


def launcher() -> list[str]:
    """DeepSpeed's launcher with one GPU, as people use it; plain Python on a CPU."""
    script = Path(sys.executable).with_name("deepspeed")
    if not torch.cuda.is_available() or not script.exists():
        return [sys.executable]
    return [sys.executable, str(script), "--num_gpus", "1"]


def steady(lines: Iterable[dict], *, warm_up: int) -> dict[str, float]:
    """Frames a second, and the share of time spent waiting for data, after the warm-up; from lines of equally many steps."""
    counted = [line for line in lines if line["step"] > warm_up and "frames_per_s" in line]
    if not counted:
        raise Failed(f"the run logged no speed after step {warm_up}")
    seconds = [1 / line["frames_per_s"] for line in counted]  # a frame
    waited = [line["loader/wait_share"] * each for line, each in zip(counted, seconds, strict=True)]
    return {"per_second": len(seconds) / sum(seconds), "wait_share": sum(waited) / sum(seconds)}


def resident(shards: Path, folder: Path, work: Workload, *, seconds: float) -> dict:
    """A row of the benchmark: the same model and engine on one batch that stays where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = folder / "resident.json"
    peak = call(
        [sys.executable, "-m", "tarpon.tools.gpu_train", str(figures), str(work.warm_up), *work.words(shards, folder)],
        seconds=seconds,
    )
    return {"unit": "frames", **json.loads(figures.read_text()), "peak_mib": peak.host, "gpu_mib": peak.gpu}


def stay(words: Sequence[str], *, warm_up: int) -> dict[str, float | None]:
    """Train on the run's first batch over and over: frames a second after the warm-up, and PyTorch's peak memory in MiB."""
    from tarpon.train.config import parse, parser_for
    from tarpon.train.engine import Engine, connect
    from tarpon.train.tasks import TASKS

    task = TASKS["mouse"]
    run, options, _ = parse(parser_for(task.options, recipe=task.recipe(), task="mouse"), task.options, words)
    place = connect()
    problem = task.build(run, options, place)
    # clones: the loader's own buffers go back to DALI
    batch = {name: value.clone() for name, value in next(problem.data.batches(0, 0)).items()}
    engine = Engine.of(run, place, problem.model, problem.groups)
    problem.freeze(False)
    engine.train()
    engine.set_rate(run.optim.lr, backbone=True)
    begun = 0.0
    for step in range(run.steps):
        if step == warm_up:
            _wait(place.device)
            begun = time.perf_counter()
        out = engine(**{name: batch[name] for name in problem.inputs})
        engine.backward(sum(problem.loss(out, batch).values()))
        engine.step()
    _wait(place.device)
    rate = (run.steps - warm_up) * problem.frames(batch) / (time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated() / 2**20 if place.gpu is not None else None
    return {"per_second": rate, "torch_mib": peak}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(argv: Sequence[str]) -> int:
    """FILE WARM_UP and the training's options: figures of the resident training into FILE."""
    from tarpon.train.engine import disconnect

    atomic.write_text(Path(argv[0]), json.dumps(stay(argv[2:], warm_up=int(argv[1]))))
    disconnect()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
