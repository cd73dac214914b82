"""A feature table on the device: a batch is an index select, without decoding, threads or Python per row.

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

    On a GPU the whole block is copied once, in the dtype it is stored in; on a CPU it stays the mapped file, which all
    processes of the machine share.

    Args:
        labels: name -> (N, ...) array over the table's rows; missing values as -1 (integers) or NaN (floats).
        dtype: of delivered vectors.

    Attributes:
        wait_s: spent making batches, as the caller sees it (on a GPU: until they are queued).
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
            work: (B,) int64 places 0..N-1 in the table, one array a batch; -1 pads: its labels are all missing.

        Yields:
            features (B, D) in `dtype`, each label (B, ...) and row (B,) int64, all on the device.
        """
        for rows in work:
            begun = time.perf_counter()
            batch = self.batch(rows)
            self.wait_s += time.perf_counter() - begun
            self.batches += 1
            yield batch

    def batch(self, rows: np.ndarray) -> Batch:
        """One batch, as `run` yields it."""
        row = torch.from_numpy(rows).to(self.device, non_blocking=True)
        # the last label is the padding's; of the vectors any will do
        batch = {name: label[row] for name, label in self.labels.items()}
        features = self.features.index_select(0, row.clamp(min=0)).to(self.dtype)
        return {"features": features, **batch, "row": row}


def _append_missing(array: np.ndarray) -> Tensor:
    """(N, ...) -> (N + 1, ...), the last all missing, where index -1 finds it."""
    missing = np.full((1, *array.shape[1:]), np.nan if array.dtype.kind == "f" else -1, array.dtype)
    return torch.from_numpy(np.concatenate([array, missing]))
