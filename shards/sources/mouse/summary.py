"""What `shards.parquet` tells of a shard's trials, by split: its classes, weight and windows."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tarpon.shards.schema import Summary


def summarise(rows: pa.Table) -> dict[str, object]:
    """histogram (C,): labelled frames of each class. share (C,): sum over trials of the share of a trial's frames.
    lengths, trials: the lengths of trials in frames, ascending, and how many are of each."""
    frames = rows["frames"].to_numpy()
    lengths, trials = np.unique(frames, return_counts=True)
    return {
        "histogram": _histograms(rows).sum(0, dtype=np.int64).tolist(),
        "share": share_of_frames(rows).sum(0).tolist(),
        "lengths": lengths.tolist(),
        "trials": trials.tolist(),
    }


def share_of_frames(rows: pa.Table) -> np.ndarray:
    """(n, C) float64 share of each trial's frames that are labelled with each class."""
    return _histograms(rows) / np.maximum(rows["frames"].to_numpy(), 1)[:, None]


def _histograms(rows: pa.Table) -> np.ndarray:
    return pc.list_flatten(rows["histogram"]).to_numpy().reshape(len(rows), -1)


SUMMARY = Summary(
    columns=(
        ("histogram", pa.list_(pa.int64())),
        ("share", pa.list_(pa.float64())),
        ("lengths", pa.list_(pa.int32())),
        ("trials", pa.list_(pa.int64())),
    ),
    make=summarise,
    kinds=("codec", "clip_width", "clip_height"),
)
