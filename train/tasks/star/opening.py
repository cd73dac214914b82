"""The one or two packed data sets of a run, opened and joined."""

import numpy as np

from tarpon.shards.joined import JoinedDatasets
from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import Manifest
from tarpon.shards.reader import Reader
from tarpon.train.config import Run
from tarpon.train.plan_kind import open_data
from tarpon.train.tasks.star.options import COTRAIN, StarOptions

FLANKS = ("left", "right")  # orientations of an animal that a mirror image would turn into the other one


def join_photos(run: Run, options: StarOptions) -> JoinedDatasets:
    """The data sets of a run; stars come first where there are two.

    Raises:
        ValueError: the wildlife set holds sea stars, which the stars' own test may show again.
    """
    roots = [run.data] + ([options.wildlife] if options.strategy == COTRAIN else [])
    manifests = [open_data(root, plan=options.plan, kind="reid", run=run) for root in roots]
    if options.strategy == COTRAIN and manifests[1].card.get("stars"):
        raise ValueError(
            f"{options.wildlife}: holds sea stars, which would train on what the stars' test split asks; "
            f"pack the wildlife set without --keep_seastar"
        )
    return JoinedDatasets([(manifest, Reader(manifest, always=run.loader.verify_always)) for manifest in manifests])


def find_flanks(orientation: np.ndarray) -> np.ndarray:
    """(n,) bool: the photograph shows one side of an animal."""
    return np.isin(np.char.lower(np.array(orientation).astype(str)), FLANKS)


def read_protocol(scored: Manifest | LazyManifest) -> tuple[bool, str]:
    """Whether each data set is searched by itself, as published (stars all together, wildlife by data set); and a sentence."""
    within = not scored.card["stars"]
    return within, scored.card["protocol"] + ("; each within its own data set" if within else "")
