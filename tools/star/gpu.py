"""What the star task brings to `tarpon gpu`."""

from collections.abc import Iterator
from pathlib import Path

from tarpon.tools.gpu.checks import GpuChecks

TINY = (  # a network that costs nothing; pictures are what is looked at
    "--model.backbone.name=test_resnet",
    "--model.backbone.pretrained=false",
    "--model.backbone.image_size=80",
    "--model.width=32",
    "--model.embedding_dim=16",
    "--micro_batch=8",
    "--global_batch=8",
)


def prepare(folder: Path, labs: Path, *, small: bool) -> None:
    from tarpon.tools.star import pack
    from tarpon.tools.star.demo import command as demo

    lab = labs / "star"
    demo.star(out=str(lab), identities=8 if small else 10, distractors=2, sessions=4, images=2, size=128)
    pack.star(root=str(lab), out=str(folder / "star"))


def batches(folder: Path, gpu: int | None) -> Iterator[dict]:
    from tarpon.tools.gpu.batches import training_batches

    return training_batches("star", TINY, folder, gpu)


CHECKS = GpuChecks(prepare=prepare, shards="star", batches=batches)
