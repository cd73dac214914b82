"""The shards that a run was trained on, opened by its run.yaml."""

import yaml

from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.tar_cache import CACHE_BYTES, Cache


def open_run_shards(config: str, *, kind: str | None = None, cache: Cache | None = None) -> Manifest:
    """The data set of a run.

    Args:
        config: text of the run's run.yaml.
        cache: where fetched tars are kept; None: where the run kept them.

    Raises:
        ValueError, OSError: it is no longer at hand.
    """
    held = yaml.safe_load(config)
    if not isinstance(held, dict) or not isinstance(held.get("data"), str):
        raise ValueError("run.yaml does not say which data the run is of")
    loader = held.get("loader") or {}
    own = Cache.of(loader.get("cache"), loader.get("cache_bytes", CACHE_BYTES))
    return open_manifest(held["data"], kind=kind, cache=cache or own)
