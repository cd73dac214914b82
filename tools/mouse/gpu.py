"""What the mouse task brings to `tarpon gpu`: shards in several codecs, batches to compare, a loader to time."""

import os
from collections.abc import Iterator
from pathlib import Path

from tarpon.tools.gpu.checks import GpuChecks

TINY = (  # a network that costs nothing; pictures are what is looked at
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


def prepare(folder: Path, labs: Path, *, small: bool) -> None:
    """2 videos of 2 and 3 trials of 360 frames in every codec; h264 decodes on a GPU only."""
    from tarpon.tools.mouse import pack
    from tarpon.tools.mouse.demo import command as demo

    lab = labs / "mouse"
    demo.mouse(out=str(lab), videos=2, size=64 if small else 224)
    for codec in ("vp9", "mjpeg") if small else ("vp9", "mjpeg", "h264"):
        given = {"videos": str(lab / "Videos"), "annotations": str(lab / "Annotations"), "out": str(folder / f"mouse_{codec}")}
        pack.mouse(**given, codec=codec, split="0.6,0.4,0")


def batches(folder: Path, gpu: int | None) -> Iterator[dict]:
    from tarpon.tools.gpu.batches import training_batches

    return training_batches("mouse", TINY, folder, gpu)


def loader_steps(folder: Path, *, window: int, batch: int, side: int, device: int | None, alone: bool) -> Iterator:
    """Endless batches of training windows, or with `alone` of nothing but their decoding."""
    from tarpon.tools.mouse.bench_loader import ALONE, Setup, dali_steps

    setup = Setup(
        shards=str(folder),
        videos="",
        annotations="",
        size=side,
        window=window,
        batch=batch,
        device=device,
        cores=len(os.sched_getaffinity(0)),
    )
    return dali_steps(setup=setup, switches=ALONE if alone else {})


CHECKS = GpuChecks(prepare=prepare, shards="mouse_vp9", batches=batches, loader_steps=loader_steps)
