"""`plan: rows | shards`: what the order of training is made of, the same option in every task that has both."""

from pathlib import Path
from typing import Literal, get_args

from tarpon.shards.lazy_manifest import LazyManifest, open_lazily
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.train.config import Run

PlanKind = Literal["rows", "shards"]


def check_plan(plan: str) -> None:
    """ValueError for a kind that there is not."""
    if plan not in get_args(PlanKind):
        raise ValueError(f"plan={plan!r} must be one of {', '.join(get_args(PlanKind))}")


def open_data(root: str | Path, *, plan: PlanKind, kind: str, run: Run) -> Manifest | LazyManifest:
    """The data set as this kind of plan holds it; errors as of `open_manifest` and `open_lazily`."""
    return (open_lazily if plan == "shards" else open_manifest)(root, kind=kind, cache=run.loader.tar_cache())


def order_mark(plan: PlanKind) -> str:
    """What the kind of plan adds to a run's fingerprint: the two are different orders."""
    return ":shards" if plan == "shards" else ""
