"""What the fish task brings to `tarpon gpu`. It is trained on features; what is compared are the images they are made of."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tarpon.tools.gpu.checks import GpuChecks

BATCH = 8  # images


def prepare(folder: Path, labs: Path, *, small: bool) -> None:
    from tarpon.tools.fish import pack
    from tarpon.tools.fish.demo import command as demo

    lab = labs / "fish"
    demo.fish(out=str(lab), images=40 if small else 48, families=6, size=128)
    pack.fish(images=str(lab / "images"), annotations=str(lab / "anns"), out=str(folder / "fish"))


def batches(folder: Path, gpu: int | None) -> Iterator[dict]:
    import numpy as np

    from tarpon.models.backbones.frames import FrameBackbone
    from tarpon.pipelines.image.feed import request_images
    from tarpon.shards.manifest import open_manifest
    from tarpon.shards.reader import Reader
    from tarpon.tools.features import Recipe
    from tarpon.tools.gpu.batches import NUMBER

    manifest = open_manifest(folder)
    backbone = FrameBackbone(name="test_vit", pretrained=False, image_size=96)
    recipe = Recipe(backbone=backbone, resize=112, l2=True, multi_scale=False)
    loader = recipe.loader(manifest, Reader(manifest), batch=BATCH, device=gpu, threads=2)
    for batch in islice(loader.run(request_images(np.arange(NUMBER * BATCH).reshape(NUMBER, BATCH))), NUMBER):
        yield {field: value.clone() for field, value in batch.items()}


CHECKS = GpuChecks(prepare=prepare, shards="fish", batches=batches)
