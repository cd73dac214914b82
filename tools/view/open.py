"""Shards or a run folder -> the album of the task whose data they are."""

import json
from pathlib import Path

from tarpon.shards.bounded_text import read_yaml
from tarpon.shards.manifest import MANIFEST, open_manifest
from tarpon.tools.tasks import TOOLS, part_of_kind
from tarpon.tools.view.record import Album


def open_album(source: Path, *, data: str | None = None) -> tuple[Album, str]:
    """The album and its title.

    Raises:
        ValueError: in one line: neither shards nor a run, or a run whose shards are not there.
    """
    run = source if (source / "run.yaml").is_file() else None
    if run is None and data is not None:
        raise ValueError(f"data={data} goes with a run folder, and {source} is none; give the shards alone")
    if run is None and not (source / MANIFEST).is_file():
        raise ValueError(f"{source}: neither shards (no {MANIFEST}) nor a run folder (no run.yaml)")
    root = data or (source if run is None else _shards_of(run))
    manifest = open_manifest(root, kind=None if run is None else _kind_of(run))
    kind: type[Album] = part_of_kind(manifest.card["kind"], "view", where=str(root))
    album = kind(manifest, run)
    if run is not None and not any(entry.predicted for entry in album.entries):
        raise ValueError(
            f"{run}: no predictions of anything in {root}; let the training finish, or give the shards with --data"
        )
    return album, source.resolve().name


def _kind_of(run: Path) -> str | None:
    """Of the data that the run's task reads; None where its folder names no task."""
    path = run / "run.json"
    tools = TOOLS.get(json.loads(path.read_text()).get("task")) if path.is_file() else None
    return None if tools is None else tools.kind


def _shards_of(run: Path) -> str:
    held = read_yaml(run / "run.yaml")
    root = str(held.get("data") or "") if isinstance(held, dict) else ""
    if "://" not in root and not (Path(root) / MANIFEST).is_file():
        raise ValueError(f"{run}: its data {root!r} are no shards that are here; give the shards with --data")
    return root
