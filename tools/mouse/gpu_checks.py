"""Mice on a GPU: shards in every codec that is checked, and the loader's speed by codec."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tarpon.tools.gpu.checks import GpuChecks
from tarpon.tools.gpu.prepared_shards import find_shards
from tarpon.tools.gpu.step_runner import Rows, Step, Visit
from tarpon.tools.mouse.gpu_train import list_train_steps

CODECS = ("vp9", "mjpeg", "h264")  # that are packed; h264 decodes on a GPU only
TIMED = ("vp9", "h264", "mjpeg")  # in the order of timing
LOADER_S, WARM_UP_S = 4.0, 2.0  # seconds of each timing, and before it
WINDOW, BATCH, SIDE = 180, 2, 224  # frames, clips, pixels; a CPU gets SMALL
SMALL = (16, 1, 64)
OPTIONS = (  # of a network that costs nothing: pixels are what is compared
    "--model.backbone.name=test_vit",
    "--model.backbone.pretrained=false",
    "--model.backbone.image_size=64",
    "--model.hidden=16",
    "--window.train_frames=16",
    "--window.val_frames=120",
    "--micro_batch=2",
    "--global_batch=2",
    "--augment.flip_p=0.5",
)


def prepare(folder: Path, *, labs: Path, small: bool) -> None:
    """Two videos of 2 and 3 trials of 360 frames, packed into `folder`/mouse_<codec> for each codec.

    As MJPEG, which takes ten times the room of the others, one video of 2 trials, all for training.
    """
    from tarpon.tools.mouse import pack
    from tarpon.tools.mouse.demo import command

    for videos in (1, 2):
        command.mouse(out=str(labs / f"mouse_{videos}"), videos=videos, size=64 if small else 224)
    for codec in CODECS[:2] if small else CODECS:
        videos, split = (1, "1,0,0") if codec == "mjpeg" else (2, "0.6,0.4,0")
        lab = labs / f"mouse_{videos}"
        folders = {"videos": str(lab / "Videos"), "annotations": str(lab / "Annotations")}
        pack.mouse(**folders, out=str(folder / f"mouse_{codec}"), codec=codec, split=split)


def read_batches(folder: Path, gpu: int | None) -> Iterator[dict]:
    """The first training batches."""
    from tarpon.tools.gpu.compare_batches import read_training_batches

    return read_training_batches("mouse", folder, gpu, options=OPTIONS)


def list_pipeline_steps() -> list[Step]:
    return [Step(name=f"loader {codec}", make=partial(time_loader, codec=codec), seconds=15) for codec in TIMED]


def time_loader(visit: Visit, *, codec: str) -> Rows:
    """Frames a second of training batches and of decoding alone, and how busy the GPU's decoders were."""
    from tarpon.tools.bench import results
    from tarpon.tools.gpu.decoders import DecoderMonitor
    from tarpon.tools.mouse.bench_loader import ALONE, Setup, dali_steps

    folder = find_shards(visit) / f"mouse_{codec}"
    if not folder.exists():
        yield {"kind": "fact", "name": f"loader {codec}", "value": f"{folder} is not there"}
        return
    window, batch, side = (WINDOW, BATCH, SIDE) if visit.gpu else SMALL
    setup = Setup(
        shards=str(folder),
        videos="",
        annotations="",
        size=side,
        window=window,
        batch=batch,
        device=visit.ordinal,
        cores=len(os.sched_getaffinity(0)),
    )
    for name, switches in (("loader", {}), ("decode alone", ALONE)):
        steps = dali_steps(setup=setup, switches=switches)
        results.measure_rate(steps, seconds=WARM_UP_S if visit.gpu else 0.1)
        with DecoderMonitor() as decoders:
            rate = results.measure_rate(steps, seconds=LOADER_S if visit.gpu else 0.3)
        steps.close()
        yield {"kind": "speed", "name": f"{name} {codec}", "per_second": rate, "unit": "frames", **decoders.usage}


CHECKS = GpuChecks(
    prepare=prepare,
    shards="mouse_vp9",
    batches=read_batches,
    pipeline_steps=list_pipeline_steps,
    train_steps=list_train_steps,
)
