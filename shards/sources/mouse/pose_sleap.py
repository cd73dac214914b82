"""SLEAP's analysis files: HDF5 arrays (Export Analysis HDF5) and CSV, one animal of them.

A frame without an animal has no row in the CSV, and the HDF5 ends with the last frame that has one.
"""

import json
from pathlib import Path

import numpy as np

from tarpon.shards.sources.mouse.pose_table import MOST_FRAMES, PoseTable, check_index, pick_one
from tarpon.shards.sources.mouse.pose_text import split_table

ORDER = {"tracks": ("frame", "node", "xy", "track"), "point_scores": ("frame", "node", "track")}
MATLAB = {"tracks": ("track", "xy", "node", "frame"), "point_scores": ("track", "node", "frame")}  # where no dims are stored
UNNAMED = "(untracked)"


def is_header(cells: list[str]) -> bool:
    return "frame_idx" in [cell.strip() for cell in cells]


def read_csv(text: str, *, individual: str | None = None) -> PoseTable:
    """Columns track, frame_idx, instance.score, <node>.x, <node>.y, <node>.score; ValueError in one line."""
    table = split_table(text, is_header=is_header)
    if len(table.header) != 1:
        raise ValueError("not a SLEAP analysis file: no column frame_idx")
    names = [cell.strip() for cell in table.header[0]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"columns stand twice: {', '.join(twice[:6])}; rename or delete one of each")
    parts = [name[:-2] for name in names if name.endswith(".x") and f"{name[:-2]}.y" in names]
    wanted = [(part, coord) for part in parts for coord in ("x", "y", "score") if f"{part}.{coord}" in names]
    texts = max(names.index(name) for name in ("track", "frame_idx") if name in names) + 1
    if not parts or any(names.index(f"{part}.{coord}") < texts for part, coord in wanted):
        raise ValueError("holds no coordinates: columns <point>.x and <point>.y after track and frame_idx are needed")
    columns, values, lines = table.read(texts=texts, numbers=[names.index(f"{part}.{coord}") for part, coord in wanted])
    tracks = [cell or UNNAMED for cell in columns[names.index("track")]] if "track" in names else [UNNAMED] * len(values)
    if not tracks:
        raise ValueError("holds no coordinates")
    animal = pick_one(list(dict.fromkeys(tracks)), individual, what="animal", option="--individual")
    keep = np.array([track == animal for track in tracks])
    stamps = [cell for cell, mine in zip(columns[names.index("frame_idx")], keep, strict=True) if mine]
    values, lines = values[keep], lines[keep]
    wrong = next((row for row, cell in enumerate(stamps) if not (cell or "").strip().lstrip("-").isdigit()), None)
    if wrong is not None:
        raise ValueError(f"line {lines[wrong]}: frame_idx {stamps[wrong]!r} is not a whole number")
    index = np.array([min(int(cell), MOST_FRAMES) for cell in stamps], np.int64)
    check_index(index, line=lambda row: f"line {lines[row]}")
    out = np.ones((len(values), len(parts), 3))
    for i, (part, coord) in enumerate(wanted):
        out[:, parts.index(part), ("x", "y", "score").index(coord)] = values[:, i]
    return _table(tuple(parts), out, index=index, lines=lines)


def is_analysis(path: Path) -> bool:
    """Whether an HDF5 file has SLEAP's arrays; ValueError where h5py is missing."""
    with _h5py().File(path, "r") as file:
        return "tracks" in file and "node_names" in file


def read_h5(path: Path, *, individual: str | None = None) -> PoseTable:
    """Arrays tracks, point_scores, node_names, track_names, in the stored or in SLEAP's first order; ValueError in one line."""
    with _h5py().File(path, "r") as file:
        xy, dims = _ordered(file, "tracks")
        if dims != ORDER["tracks"] or xy.shape[2] != 2:
            raise ValueError(f"array tracks has the shape {file['tracks'].shape}; (tracks, 2, nodes, frames) is expected")
        scores = _ordered(file, "point_scores")[0] if "point_scores" in file else None
        parts = tuple(_text(name) for name in file["node_names"][:])
        names = [_text(name) for name in file["track_names"][:]] if "track_names" in file else []
    names = names or [UNNAMED] * xy.shape[3]
    if len(names) != xy.shape[3] or len(parts) != xy.shape[1]:
        raise ValueError(f"{len(names)} track names and {len(parts)} node names for the shape {xy.shape} of tracks")
    if len(set(parts)) != len(parts):
        raise ValueError(f"nodes stand twice: {', '.join(parts)}")
    track = names.index(pick_one(names, individual, what="animal", option="--individual"))
    out = np.ones((*xy.shape[:2], 3))
    out[..., :2] = xy[..., track]
    if scores is not None and scores.shape == (*xy.shape[:2], xy.shape[3]):
        out[..., 2] = scores[..., track]
    return _table(parts, out, index=np.arange(len(xy)), lines=None)


def _table(parts: tuple[str, ...], values: np.ndarray, *, index: np.ndarray, lines: np.ndarray | None) -> PoseTable:
    hand = np.isnan(values[..., 2]) & np.isfinite(values[..., :2]).all(-1)  # an instance labelled by hand has no score
    values[..., 2] = np.where(hand, 1, np.clip(values[..., 2], 0, 1))  # peaks of confidence maps may be a little above 1
    return PoseTable(parts=parts, values=values, index=index, lines=lines, scorer="SLEAP", software="SLEAP", sparse=True)


def _ordered(file: object, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """An array with its axes in ORDER."""
    stored = file[name].attrs.get("dims")
    dims = tuple(json.loads(stored)) if stored is not None else MATLAB[name]
    array = file[name][:].astype(float)
    if set(dims) != set(ORDER[name]) or array.ndim != len(dims):
        raise ValueError(f"array {name} has the axes {', '.join(dims)}; {', '.join(MATLAB[name])} are expected")
    return array.transpose([dims.index(axis) for axis in ORDER[name]]), ORDER[name]


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _h5py() -> object:
    try:
        import h5py
    except ImportError as error:
        raise ValueError("reading SLEAP's .h5 needs h5py: pip install 'tarpon[sleap]', or export the analysis CSV") from error
    return h5py
