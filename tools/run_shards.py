"""The shards that a run was trained on, opened by its run.yaml."""

from pathlib import Path

import yaml

from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.tar_cache import CACHE_BYTES, Cache


def open_run_shards(config: str, *, kind: str | None = None, cache: Cache | None = None, data: str | None = None) -> Manifest:
    """The data set of a run.

    Args:
        config: text of the run's run.yaml.
        cache: where fetched tars are kept; None: where the run kept them.
        data: where its data are now; None: where they were.

    Raises:
        ValueError, OSError: it is no longer at hand.
    """
    held = yaml.safe_load(config)
    if not isinstance(held, dict) or not isinstance(held.get("data"), str):
        raise ValueError("run.yaml does not say which data the run is of")
    loader = held.get("loader") or {}
    own = Cache.of(loader.get("cache"), loader.get("cache_bytes", CACHE_BYTES))
    return open_manifest(data or held["data"], kind=kind, cache=cache or own)


def check_data(folder: Path, data: str) -> None:
    """ValueError, naming --data, where a run's data are not there: they were moved, or are on another machine."""
    if "://" not in data and not Path(data).is_dir():
        raise ValueError(f"{folder}: its data {data} are not there; give --data FOLDER, where they are now")


def find_missing_data(config: str) -> str | None:
    """The folder that a run's data were in, where it is no longer there; None: it is, or is at a URL.

    config: text of the run's run.yaml.
    """
    held = yaml.safe_load(config)
    data = held.get("data") if isinstance(held, dict) else None
    return data if isinstance(data, str) and "://" not in data and not Path(data).is_dir() else None
