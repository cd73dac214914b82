"""`tarpon features SHARDS`: every image once through a frozen backbone, into a cache that training maps.

`deepspeed tools/features.py SHARDS ...` does the same on all GPUs: each process takes every so-many-th chunk.
"""

import importlib.metadata
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # started as a script: our own file names must not hide other packages' modules

import numpy as np
import torch
from torch import Tensor

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.models.backbones.image import SCALES, ImageEncoder
from tarpon.pipelines.feed import Feed, SampleReader
from tarpon.pipelines.image.feed import ImageFields, request_images
from tarpon.pipelines.image.graph import ImageGraph
from tarpon.pipelines.loader import Loader
from tarpon.shards.features import DTYPES, FeatureCache, select_class_lists, select_labels
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.progress import Progress
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader
from tarpon.shards.sampling import plan
from tarpon.shards.tar_cache import CACHE_BYTES, Cache
from tarpon.train.engine import DistContext, connect, disconnect

COLUMN = "jpg"  # the component that is looked at
LIBRARIES = {"tarpon", "torch", "timm", "numpy", "pyarrow", "nvidia-dali-cuda120", "nvidia-dali-cuda130"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an image becomes a vector; a cache and a prediction from it must use the same recipe."""

    backbone: FrameBackbone
    resize: int = 256  # pixels, shorter side before the crop
    l2: bool = True
    multi_scale: bool = False

    def encoder(self) -> ImageEncoder:
        return ImageEncoder(self.backbone, l2=self.l2, multi_scale=self.multi_scale)

    def loader(self, manifest: Manifest, reader: SampleReader, *, batch: int, device: int | None, threads: int) -> Loader:
        """Loader of normalised crops. A bad image stops it with an error that names it: a cache cannot leave a row out."""
        mean, std = self.backbone.normalisation()
        fields = ImageFields(column=COLUMN, mean=mean, std=std)
        feed = Feed(manifest, reader, fields, pool=np.arange(len(manifest)), budget=Budget(limit=0))
        graph = ImageGraph(batch=batch, size=self.backbone.image_size, resize=self.resize)
        return Loader(graph, feed, device=device, threads=threads)

    def card(self, encoder: ImageEncoder) -> dict:
        """The recipe as fields of a cache's card."""
        mean, std = self.backbone.normalisation()
        return {
            "backbone": self.backbone.name,
            "weights_sha256": encoder.weights_sha256(),
            "transform": {
                "resize": self.resize,
                "crop": self.backbone.image_size,
                "interpolation": "bicubic, antialiased",
                "mean": list(mean),
                "std": list(std),
            },
            "l2": self.l2,
            "multi_scale": list(SCALES) if self.multi_scale else None,
            "dim": encoder.dim,
        }

    @classmethod
    def from_card(cls, card: Mapping, *, weights: str | None = None, pretrained: bool = True) -> "Recipe":
        """The recipe of a cache's card; `check` compares the weights. ValueError for imported features, which have none."""
        if card.get("transform") is None:
            raise ValueError("these features were imported: how they were made is not known, so no image can join them")
        transform = card["transform"]
        backbone = FrameBackbone(name=card["backbone"], weights=weights, pretrained=pretrained, image_size=transform["crop"])
        return cls(backbone=backbone, resize=transform["resize"], l2=card["l2"], multi_scale=bool(card["multi_scale"]))

    def check(self, encoder: ImageEncoder, card: Mapping) -> None:
        """ValueError when the encoder's weights are not those the card's features were made with."""
        if encoder.weights_sha256() != card["weights_sha256"]:
            raise ValueError(
                f"the weights of {self.backbone.name} are not those that the features were made with; give the same --weights"
            )


def encode_images(
    encoder: ImageEncoder, loader: Loader, rows: np.ndarray, *, batch: int, device: torch.device
) -> Iterator[Tensor]:
    """Vectors of rows (N,) in their order: batches (at most `batch`, D) float32 on the CPU, computed in bfloat16 on a GPU."""
    batches = plan.sequential_batches(len(rows), micro=batch)
    work = (np.where(places >= 0, rows[places], -1) for places in batches)
    for images in loader.run(request_images(work)):
        real = images["row"] >= 0
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            vectors = encoder(images["image"])
        yield vectors.float().cpu()[real.cpu()]


def run(
    shards: str,
    *,
    backbone: str,
    out: str,
    weights: str | None = None,
    pretrained: bool = True,
    multi_scale: bool = False,
    dtype: str = "fp16",
    l2: bool = True,
    batch: int = 64,
    image_size: int = 224,
    resize: int = 256,
    threads: int = 0,
    cache: str | None = None,
    cache_bytes: int = CACHE_BYTES,
    cluster: str | None = None,
) -> int:
    """Compute every image's vector once; run again after a kill it goes on, with any number of processes.

    Args:
        shards: folder that `tarpon pack` wrote from images, or its URL.
        backbone: timm name, with or without a pretrained tag; the class token is taken where it has one.
        out: folder for the features.
        weights: local .safetensors or .pt file of the backbone.
        pretrained: weights from the hub or its cache; false: random ones.
        multi_scale: mean over the image at 1, 0.707 and 0.5 of its size.
        dtype: fp16 or fp32, of the stored vectors.
        l2: vectors of length 1.
        batch: images a pass, in each process.
        image_size: side of the crop in the middle, in pixels.
        resize: shorter side before the crop, in pixels.
        threads: decoding threads a process; 0: its share of the cores.
        cache: folder for fetched tars, of shards at a URL.
        cache_bytes: most bytes that it may hold.
        cluster: tcp://HOST:PORT of a dask scheduler whose workers compute them, or slurm.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be {' or '.join(DTYPES)}")
    if batch < 1 or threads < 0:
        raise ValueError(f"batch={batch} must be at least 1 and threads={threads} at least 0")
    manifest = open_manifest(shards, cache=Cache.of(cache, cache_bytes))
    if COLUMN not in manifest.card["components"]:
        raise ValueError(f"{shards}: holds {manifest.card['kind']} data without {COLUMN} images; give shards of images")
    described = FrameBackbone(name=backbone, weights=weights, pretrained=pretrained, image_size=image_size)
    recipe = Recipe(backbone=described, resize=resize, l2=l2, multi_scale=multi_scale)
    ImageGraph(batch=batch, size=image_size, resize=resize)  # says what is wrong before the weights are fetched
    if cluster:
        from tarpon.tools.features_cluster import compute_on_cluster  # it needs packages of an extra

        return compute_on_cluster(recipe, manifest, cluster=cluster, out=Path(out), dtype=dtype, batch=batch, threads=threads)
    return compute(recipe, manifest, out=Path(out), dtype=dtype, batch=batch, threads=threads)


def compute(recipe: Recipe, manifest: Manifest, *, out: Path, dtype: str, batch: int, threads: int) -> int:
    """All vectors, by the processes that a launcher started; arguments as of `run`."""
    context = connect()
    encoder = recipe.encoder().to(context.device)
    vectors = FeatureCache(out=out, card=make_card(recipe, encoder, manifest, context.device, dtype=dtype))
    if is_whole(vectors, context):
        return 0
    if context.first:
        vectors.begin()
    wait_for_all(context)
    took = write_chunks(vectors, recipe, encoder, manifest, context, batch=batch, threads=threads or share_of_cores(context))
    wait_for_all(context)
    if context.first:
        vectors.finish(select_labels(manifest))
        print(took, f"{len(manifest)} vectors of {encoder.dim} numbers, {dtype}: {out}", sep="\n")
    return 0


def is_whole(vectors: FeatureCache, context: DistContext) -> bool:
    """Whether these features are all there already, which the first process says."""
    if not vectors.check():
        return False
    if context.first:
        vectors.clear()
        print(f"{vectors.out} holds these features already")
    return True


def make_card(recipe: Recipe, encoder: ImageEncoder, manifest: Manifest, device: torch.device, *, dtype: str) -> dict:
    """The card of the features that are computed from these shards."""
    installed = {d.name: d.version for d in importlib.metadata.distributions() if d.name in LIBRARIES}
    return {
        **recipe.card(encoder),
        "dtype": dtype,
        "computed_in": "bf16" if device.type == "cuda" else "fp32",
        "count": len(manifest),
        "kind": manifest.card["kind"],
        "manifest": manifest.fingerprint(),
        "classes": select_class_lists(manifest.card),
        "versions": dict(sorted(installed.items())),
    }


def write_chunks(
    cache: FeatureCache,
    recipe: Recipe,
    encoder: ImageEncoder,
    manifest: Manifest,
    context: DistContext,
    *,
    batch: int,
    threads: int,
) -> str:
    """Write this process's chunks; returns one line: rows/s and the share of the time it waited for images."""
    chunks = cache.chunks(rank=context.rank, world=context.world)
    if not chunks:
        return "nothing was left to compute"
    rows = np.concatenate([np.arange(chunk.start, chunk.stop) for chunk in chunks])
    loader = recipe.loader(manifest, Reader(manifest), batch=batch, device=context.gpu, threads=threads)
    begun, pending, left = time.perf_counter(), [], iter(chunks)
    chunk, have = next(left), 0
    with Progress(len(rows), what="features", unit="rows", shown=context.first) as bar:
        for vectors in encode_images(encoder, loader, rows, batch=batch, device=context.device):
            bar.update(len(vectors))
            while have + len(vectors) >= len(chunk):  # the batch ends this chunk, and may begin the next
                last, vectors = vectors[: len(chunk) - have], vectors[len(chunk) - have :]
                cache.write(chunk, torch.cat([*pending, last]).numpy())
                pending, have = [], 0
                chunk = next(left, range(sys.maxsize))
            pending.append(vectors)
            have += len(vectors)
    seconds = time.perf_counter() - begun
    return f"{len(rows) / seconds:.0f} rows/s a process, {loader.wait_s / seconds:.0%} of the time waiting for images"


def wait_for_all(context: DistContext) -> None:
    if context.world > 1:
        torch.distributed.barrier()


def share_of_cores(context: DistContext) -> int:
    return max(1, len(os.sched_getaffinity(0)) // max(context.local_world, 1))


def main(argv: Sequence[str]) -> int:
    """Entry point under a launcher, whose own arguments are left out; returns the exit status."""
    from tarpon.tools import cli  # it imports this module when it runs the command

    return cli.main(["features", *(word for word in argv if not word.startswith("--local_rank"))])


if __name__ == "__main__":
    status = main(sys.argv[1:])
    disconnect()
    sys.exit(status)
