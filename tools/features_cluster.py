"""`tarpon features SHARDS --cluster ...`: shares of the chunks as jobs of a cluster's workers."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from tarpon.shards.features import FeatureCache, select_labels
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.shard_runs import run_jobs
from tarpon.shards.tar_cache import Cache
from tarpon.tools.cluster import open_cluster
from tarpon.tools.features import Recipe, is_whole, make_card, share_of_cores, write_chunks
from tarpon.train.engine import DistContext

SHARES = 16  # jobs; each builds the backbone once, and a worker that is lost costs the rest of one


@dataclass(frozen=True, kw_only=True)
class Share:
    """Every so-many-th chunk."""

    number: int
    of: int

    @property
    def name(self) -> str:
        return f"share {self.number}"


def compute_on_cluster(
    recipe: Recipe, manifest: Manifest, *, cluster: str, out: Path, dtype: str, batch: int, threads: int
) -> int:
    """All vectors, by a cluster's workers, who see the shards, the weights and `out` as this machine does.

    Raises:
        ValueError: the cluster is not there, or some shares failed twice; the same command makes what is left.
    """
    with open_cluster(cluster, workers=SHARES) as executor:
        device = torch.device(executor.submit(find_device).result())  # of the workers: it decides how numbers are computed
        encoder = recipe.encoder()
        context = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=device)
        vectors = FeatureCache(out=out, card=make_card(recipe, encoder, manifest, device, dtype=dtype))
        if is_whole(vectors, context):
            return 0
        vectors.begin()
        shares = [Share(number=number, of=SHARES) for number in range(SHARES)]
        make = partial(write_share, recipe, manifest.root, manifest.cache, str(out), vectors.card, batch=batch, threads=threads)
        run_jobs(shares, make, workers=SHARES, executor=executor, noun="shares of the features")
    vectors.finish(select_labels(manifest))
    print(f"{len(manifest)} vectors of {encoder.dim} numbers, {dtype}: {out}")
    return 0


def find_device() -> str:
    """cuda or cpu: what a worker computes on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def write_share(
    recipe: Recipe, root: str, cache: Cache | None, out: str, card: dict, share: Share, *, batch: int, threads: int
) -> None:
    """The chunks of a share that are not there yet, on a worker.

    Raises:
        ValueError: the worker computes on another kind of device than the first one, or its weights are others.
    """
    device = torch.device(find_device())
    if (card["computed_in"] == "bf16") != (device.type == "cuda"):
        raise ValueError(f"some workers have a GPU and some have none; this one computes on {device.type}: start workers alike")
    device = torch.device("cuda", 0) if device.type == "cuda" else device
    context = DistContext(rank=share.number, world=share.of, local_rank=0, local_world=1, device=device)
    encoder = recipe.encoder().to(device)
    recipe.check(encoder, card)
    vectors, manifest = FeatureCache(out=Path(out), card=card), open_manifest(root, cache=cache)
    write_chunks(vectors, recipe, encoder, manifest, context, batch=batch, threads=threads or share_of_cores(context))
