"""What the cells task brings to `tarpon gpu`."""

from collections.abc import Iterator
from pathlib import Path

from tarpon.tools.gpu.checks import GpuChecks

TINY = (  # a network that costs nothing; pictures are what is looked at
    "--model.backbone.name=test_resnet",
    "--model.backbone.pretrained=false",
    "--model.backbone.image_size=64",
    "--model.hidden_dim=16",
    "--micro_batch=4",
    "--global_batch=4",
    "--infection_onset_hour=1",
)


def prepare(folder: Path, labs: Path, *, small: bool) -> None:
    from tarpon.tools.cells import pack
    from tarpon.tools.cells.demo import command as demo

    lab = labs / "cells"
    demo.cells(out=str(lab), stacks=12, pages=6, size=80, onset=1.0)
    pack.cells(config=str(lab / "cells.yaml"), out=str(folder / "cells"), group="well", split="0.34,0.33,0.33")


def batches(folder: Path, gpu: int | None) -> Iterator[dict]:
    from tarpon.tools.gpu.batches import training_batches

    return training_batches("cells", TINY, folder, gpu)


CHECKS = GpuChecks(prepare=prepare, shards="cells", batches=batches)
