"""First batches of every task as its training reads them, on a device of one's choice, and how two makings differ."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tarpon.shards.manifest import open_manifest
from tarpon.shards.reader import Reader
from tarpon.tools.gpu.words import TINY, problem
from tarpon.train.engine import DistContext

LEVELS = 0.04  # of normalised pixels, mean: 2 to 2.5 grey levels; decoders and filters round differently
NUMBER = 2  # batches of a making
Batch = dict[str, Tensor]


def differences(cpu: Batch, gpu: Batch) -> dict[str, dict]:
    """For every field whether it is the same, and in words how far off."""
    told = {}
    for name in sorted(cpu.keys() | gpu.keys()):
        if name not in cpu or name not in gpu:
            told[name] = {"ok": False, "said": "in one of the two only"}
            continue
        one, two = cpu[name], gpu[name].cpu()
        if one.shape != two.shape or one.dtype != two.dtype:
            told[name] = {"ok": False, "said": f"{tuple(one.shape)} {one.dtype} and {tuple(two.shape)} {two.dtype}"}
        elif one.is_floating_point() and one.ndim >= 4:  # pixels
            off = (one - two).abs()
            ok = float(off.mean()) < LEVELS
            told[name] = {"ok": ok, "said": f"mean {off.mean():.4f}, most {off.max():.3f}, allowed {LEVELS}"}
        else:
            told[name] = {"ok": torch.equal(one, two), "said": "to the bit" if torch.equal(one, two) else "other values"}
    return told


def trained_on(name: str) -> Callable[[Path, int | None], Iterator[Batch]]:
    """The first training batches of a task; what they hold on the CPU does not depend on the next ones."""

    def made(folder: Path, gpu: int | None) -> Iterator[Batch]:
        device = torch.device("cpu") if gpu is None else torch.device("cuda", gpu)
        context = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=device)
        found = problem(name, folder, TINY[name], context)
        for batch in islice(found.batches(0, 0), NUMBER):
            yield {field: value.clone() for field, value in batch.items()}

    return made


def images(folder: Path, gpu: int | None) -> Iterator[Batch]:
    """Fish are trained on features; this is what their features are made of."""
    from tarpon.models.backbones.frames import FrameBackbone
    from tarpon.pipelines.image.feed import image_requests
    from tarpon.tools.features import Recipe

    manifest = open_manifest(folder)
    backbone = FrameBackbone(name="test_vit", pretrained=False, image_size=96)
    recipe = Recipe(backbone=backbone, resize=112, l2=True, multi_scale=False)
    loader = recipe.loader(manifest, Reader(manifest), batch=8, device=gpu, threads=2)
    work = np.arange(NUMBER * 8).reshape(NUMBER, 8)
    for batch in loader.run(image_requests(work)):
        yield {field: value.clone() for field, value in batch.items()}


BATCHES: dict[str, Callable[[Path, int | None], Iterator[Batch]]] = {
    **{name: trained_on(name) for name in TINY},
    "fish": images,
}
