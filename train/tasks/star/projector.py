"""Some embeddings for TensorBoard's projector, which shows them as points in space. N rows, D values, S pixels a side."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

LIMIT = 2000  # points; a browser turns them smoothly
SPRITE_SIDE = 8192  # pixels; TensorBoard takes no larger picture of all thumbnails


def write_projector(
    folder: Path,
    embedding: np.ndarray,
    *,
    columns: Mapping[str, np.ndarray],
    step: int,
    tag: str = "embedding",
    thumbnails: np.ndarray | None = None,
) -> None:
    """Write points with their names into a TensorBoard folder. Give at most a few thousand: see `pick_identities`.

    Args:
        folder: one of its own below that of the run's event files. Beside them, its own event file would be the newest, and
            TensorBoard would look for nothing more in those still being written. What an earlier call left is replaced.
        embedding: (N, D); shown at unit length, as search compares them.
        columns: name -> (N,) what can be read off a point and coloured by: identity, outing, dataset.
        thumbnails: (N, S, S, 3) uint8, drawn in place of the points.

    Raises:
        ValueError: nothing to show, columns of another length, or thumbnails that do not fit on one sheet.
    """
    from torch.utils.tensorboard import SummaryWriter  # slow to import; only rank 0 needs it

    _check(embedding, columns, thumbnails)
    unit = torch.nn.functional.normalize(torch.as_tensor(embedding, dtype=torch.float32))
    rows = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
    header = list(columns)
    if len(header) == 1:
        rows, header = [row[0] for row in rows], None  # the projector takes a first line for names only above several columns
    pictures = None if thumbnails is None else torch.from_numpy(thumbnails.transpose(0, 3, 1, 2) / np.float32(255))
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        writer.add_embedding(unit, rows, pictures, step, tag, header)


def pick_identities(identities: np.ndarray, *, limit: int = LIMIT, seed: int = 0) -> np.ndarray:
    """(at most limit,) int64 ascending indices of rows to show: whole identities, drawn at random, the last one perhaps cut.

    A few animals with all their photographs show whether these lie together; one photograph of each of many would not.

    Args:
        identities: (N,).
    """
    _, group, count = np.unique(identities, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(count))
    turn = np.empty(len(count), np.int64)
    turn[order] = np.arange(len(count))
    return np.sort(np.argsort(turn[group], kind="stable")[:limit])


def _check(embedding: np.ndarray, columns: Mapping[str, np.ndarray], thumbnails: np.ndarray | None) -> None:
    count = len(embedding)
    if not count or not columns:
        raise ValueError(f"{count} embeddings with {len(columns)} columns; the projector needs one of each at least")
    for name, values in columns.items():
        if len(values) != count:
            raise ValueError(f"column {name} has {len(values)} values for {count} embeddings")
    if thumbnails is None:
        return
    side = thumbnails.shape[1]
    if thumbnails.shape != (count, side, side, 3):
        raise ValueError(f"thumbnails must be ({count}, S, S, 3), got {thumbnails.shape}")
    if math.ceil(math.sqrt(count)) * side > SPRITE_SIDE:
        most = (SPRITE_SIDE // side) ** 2
        raise ValueError(f"{count} thumbnails of {side} px do not fit on one sheet; give {most} at most")


def _cell(value: object) -> str:
    """A tab or a new line would end the cell."""
    return " ".join(str(value).split())
