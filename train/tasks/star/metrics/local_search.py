"""The nearest of a search put in order anew by local features of the two photographs.

Only the first K of each query change places among themselves: those that share more local features come first, those that
share none follow in the order of plain search, and so does everything behind the first K. Q queries, G gallery items.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tarpon.shards.progress import Progress
from tarpon.train.tasks.star.metrics.local_features import LocalFeatures, SiftMatcher
from tarpon.train.tasks.star.metrics.retrieval import Retrieval, Strip, cosine_strips, rank_gallery

HELD = 4096  # photographs whose features are kept, 600 x 136 bytes each at most: 320 MiB
Read = Callable[[int], bytes]  # row -> encoded photograph


class LocalRescorer:
    """Counts shared local features of pairs of photographs; features of the last HELD photographs are kept.

    Args:
        read: a row's encoded photograph.
        shown: False is silent, as on all processes but the first.
    """

    def __init__(self, read: Read, *, shown: bool = True) -> None:
        self._read, self._shown, self._matcher = read, shown, SiftMatcher()
        self._held: OrderedDict[int, LocalFeatures] = OrderedDict()
        self.seconds = 0.0  # spent so far

    def count(self, rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """(Q, K) int64 shared features of each of rows (Q,) and its candidates (Q, K) rows, -1 for none; tells the seconds."""
        begun, shared = time.perf_counter(), np.zeros(candidates.shape, np.int64)
        with Progress(len(rows), what="local", unit="photographs", shown=self._shown) as bar:
            for query, row in enumerate(rows.tolist()):
                own = self._features(row)
                for place, candidate in enumerate(candidates[query].tolist()):
                    if candidate >= 0:
                        shared[query, place] = self._matcher.count_matches(own, self._features(candidate))
                bar.update()
        took = time.perf_counter() - begun
        self.seconds += took
        if self._shown:
            pairs = int((candidates >= 0).sum())
            line = f"local     {pairs:,} pairs of photographs compared by local features in {took:.1f} s"
            print(line, file=sys.stderr, flush=True)
        return shared

    def _features(self, row: int) -> LocalFeatures:
        if row not in self._held:
            self._held[row] = self._matcher.describe(self._read(row))
            if len(self._held) > HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(row)
        return self._held[row]


def rank_by_local_features(
    queries: Tensor,
    gallery: Tensor,
    *,
    nearest: np.ndarray,
    shared: np.ndarray,
    device: torch.device | str = "cpu",
    **asked: Any,
) -> Retrieval:
    """`retrieval.search` with the first K of each query in another order. Arguments as there (`asked`), and:

    Args:
        nearest: (Q, K) int64 what plain search with the same `exclude` found first; -1 past the end of the gallery.
        shared: (Q, K) int64 local features shared with each.

    Returns:
        `similarity` and its kind hold cosines, to which 2 and the number of shared features are added within the first K.
    """
    strip = _lifted(cosine_strips(queries, gallery, device=device), nearest, shared, device=device)
    return rank_gallery(strip, device=device, **asked)


def find_lift(nearest: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """(Q, K) float32 to add to the cosines of the nearest (Q, K), -1 for none, that share so many features (Q, K)."""
    # twice the count: a step of 2 is never bridged by the difference of two cosines
    return (2.0 + 2.0 * shared).astype(np.float32) * (nearest >= 0)


def _lifted(plain: Strip, nearest: np.ndarray, shared: np.ndarray, *, device: torch.device | str) -> Strip:
    """The strip with 2, the width of all cosines, and the shared features added to the nearest: one more beats any cosine."""
    at = torch.as_tensor(nearest.clip(min=0), device=device)
    lift = torch.as_tensor(find_lift(nearest, shared), device=device)

    def strip(low: int, high: int) -> Tensor:
        return plain(low, high).scatter_add_(1, at[low:high], lift[low:high])

    return strip
