"""Fish on a GPU: small shards, and the image batches that features are computed from."""

from collections.abc import Iterator
from pathlib import Path

from tarpon.tools.gpu.checks import GpuChecks


def prepare(folder: Path, *, labs: Path, small: bool) -> None:
    """Images of six families, packed into `folder`/fish."""
    from tarpon.tools.fish import pack
    from tarpon.tools.fish.demo import command

    lab = labs / "fish"
    command.fish(out=str(lab), images=40 if small else 48, families=6, size=128)
    pack.fish(images=str(lab / "images"), annotations=str(lab / "anns"), out=str(folder / "fish"))


def read_batches(folder: Path, gpu: int | None) -> Iterator[dict]:
    """The first image batches of `tarpon features`: training reads only what these become."""
    import numpy as np

    from tarpon.models.backbones.frames import FrameBackbone
    from tarpon.pipelines.image.feed import request_images
    from tarpon.shards.manifest import open_manifest
    from tarpon.shards.reader import Reader
    from tarpon.tools.features import Recipe
    from tarpon.tools.gpu.compare_batches import NUMBER

    manifest = open_manifest(folder)
    backbone = FrameBackbone(name="test_vit", pretrained=False, image_size=96)
    recipe = Recipe(backbone=backbone, resize=112, l2=True, multi_scale=False)
    loader = recipe.loader(manifest, Reader(manifest), batch=8, device=gpu, threads=2)
    for batch in loader.run(request_images(np.arange(NUMBER * 8).reshape(NUMBER, 8))):
        yield {field: value.clone() for field, value in batch.items()}


CHECKS = GpuChecks(prepare=prepare, shards="fish", batches=read_batches)
