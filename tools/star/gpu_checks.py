"""Stars on a GPU: small shards, and training batches of photographs."""

from collections.abc import Iterator
from pathlib import Path

from tarpon.tools.gpu.checks import GpuChecks

OPTIONS = (  # of a network that costs nothing: pixels are what is compared
    "--model.backbone.name=test_resnet",
    "--model.backbone.pretrained=false",
    "--model.backbone.image_size=80",
    "--model.width=32",
    "--model.embedding_dim=16",
    "--micro_batch=8",
    "--global_batch=8",
)


def prepare(folder: Path, *, labs: Path, small: bool) -> None:
    """Individuals of four sessions and two distractors, packed into `folder`/star."""
    from tarpon.tools.star import pack
    from tarpon.tools.star.demo import command

    lab = labs / "star"
    command.star(out=str(lab), identities=8 if small else 10, distractors=2, sessions=4, images=2, size=128)
    pack.star(root=str(lab), out=str(folder / "star"))


def read_batches(folder: Path, gpu: int | None) -> Iterator[dict]:
    """The first training batches."""
    from tarpon.tools.gpu.compare_batches import read_training_batches

    return read_training_batches("star", folder, gpu, options=OPTIONS)


CHECKS = GpuChecks(prepare=prepare, shards="star", batches=read_batches)
