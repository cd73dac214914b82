"""The loader of feature tables: a batch is an index select on the device, without decoding or Python per row.

N rows, B rows of a batch, D numbers of a vector.
"""

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from tarpon.pipelines.loader import Batch
from tarpon.shards.features import FeatureTable


class FeatureLoader:
    """Batches of a table's vectors and labels.

    On a GPU the whole table is copied once, in its stored dtype; on a CPU it stays the memory-mapped file, which all processes
    of the machine share.

    Args:
        labels: name -> (N, ...) array over the table's rows; missing values as -1 (integers) or NaN (floats).
        dtype: of delivered vectors.

    Attributes:
        wait_s: seconds spent making batches (on a GPU: until they are queued).
        batches: number of batches made.

    Raises:
        ValueError: labels and table have different numbers of rows.
    """

    def __init__(
        self,
        table: FeatureTable,
        labels: Mapping[str, np.ndarray],
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if wrong := {name: len(array) for name, array in labels.items() if len(array) != len(table)}:
            raise ValueError(f"{table.root}: labels of {wrong} rows, the table has {len(table)}")
        self.device, self.dtype = device, dtype
        with warnings.catch_warnings():
            # the mapping is read-only; nothing here writes into it
            warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
            self.features = torch.from_numpy(table.features).to(device)
        self.labels = {name: _append_missing(array).to(device) for name, array in labels.items()}
        self.wait_s, self.batches = 0.0, 0

    def run(self, work: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Batches of the work, in order.

        Args:
            work: (B,) int64 indices 0..N-1 of the table, one array a batch; -1 pads: its labels are all missing.

        Yields:
            features (B, D) in `dtype`, each label (B, ...) and row (B,) int64, all on the device.
        """
        for rows in work:
            begun = time.perf_counter()
            batch = self.batch(rows)
            self.wait_s += time.perf_counter() - begun
            self.batches += 1
            yield batch

    def measure_augment_share(self) -> None:
        """Nothing is decoded or augmented."""

    def batch(self, rows: np.ndarray) -> Batch:
        """One batch, as `run` yields it."""
        row = torch.from_numpy(rows).to(self.device, non_blocking=True)
        # the last label is the padding's; of the vectors any will do
        batch = {name: label[row] for name, label in self.labels.items()}
        features = self.features.index_select(0, row.clamp(min=0)).to(self.dtype)
        return {"features": features, **batch, "row": row}


def _append_missing(array: np.ndarray) -> Tensor:
    """(N, ...) -> (N + 1, ...): a last row of missing values, which index -1 selects."""
    missing = np.full((1, *array.shape[1:]), np.nan if array.dtype.kind == "f" else -1, array.dtype)
    return torch.from_numpy(np.concatenate([array, missing]))
