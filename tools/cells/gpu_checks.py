"""Cells on a GPU: small shards, and training batches of pages."""

from collections.abc import Iterator
from pathlib import Path

from tarpon.tools.gpu.checks import GpuChecks

OPTIONS = (  # of a network that costs nothing: pixels are what is compared
    "--model.backbone.name=test_resnet",
    "--model.backbone.pretrained=false",
    "--model.backbone.image_size=64",
    "--model.hidden_dim=16",
    "--micro_batch=4",
    "--global_batch=4",
    "--infection_onset_hour=1",
)


def prepare(folder: Path, *, labs: Path, small: bool) -> None:
    """Twelve stacks of six pages, packed into `folder`/cells; they are small as they are."""
    from tarpon.tools.cells import pack
    from tarpon.tools.cells.demo import command

    lab = labs / "cells"
    command.cells(out=str(lab), stacks=12, pages=6, size=80, onset=1.0)
    pack.cells(config=str(lab / "cells.yaml"), out=str(folder / "cells"), group="well", split="0.34,0.33,0.33")


def read_batches(folder: Path, gpu: int | None) -> Iterator[dict]:
    """The first training batches."""
    from tarpon.tools.gpu.compare_batches import read_training_batches

    return read_training_batches("cells", folder, gpu, options=OPTIONS)


CHECKS = GpuChecks(prepare=prepare, shards="cells", batches=read_batches)
