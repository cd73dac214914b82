"""What a search would score if it put the gallery in a random order: what scores of a search must be read against.

Q queries; a query with m matches among n candidates.
"""

import numpy as np
from scipy.special import gammaln

from tarpon.train.tasks.star.metrics.scores import RANKS


def random_order_scores(matches: np.ndarray, candidates: np.ndarray) -> dict[str, float]:
    """Expected map, minp, cmc_1, cmc_5, cmc_10, cmc_20 and mean_rank of a random order, over the queries that have a match.

    Args:
        matches, candidates: (Q,) of each query, as a Retrieval has them.

    Raises:
        ValueError: no query has a match.
    """
    pairs, count = np.unique(np.stack([matches, candidates], 1)[matches > 0], axis=0, return_counts=True)
    if not len(pairs):
        raise ValueError("no query has a match in the gallery, so there is no chance of finding one")
    m, n = pairs.astype(np.float64).T
    each = {
        "map": _precision(m, n),
        "minp": np.array([_penalty(*pair) for pair in pairs.tolist()]),
        **{f"cmc_{k}": random_hit_rates(m, n, most=k)[:, -1] for k in RANKS},
        "mean_rank": (n + 1) / (m + 1),
    }
    return {name: float(np.average(values, weights=count)) for name, values in each.items()}


def random_hit_rates(matches: np.ndarray, candidates: np.ndarray, *, most: int) -> np.ndarray:
    """(Q, most) probability that a match is among the first 1, 2, ... `most` of a random order."""
    m, n = (np.asarray(values, np.float64)[:, None] for values in (matches, candidates))
    drawn = np.arange(most)
    missed = np.where(n - drawn > 0, (n - m - drawn).clip(min=0) / (n - drawn).clip(min=1), 0.0)
    return 1 - np.cumprod(missed, 1)


def _precision(m: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Mean average precision: rank k holds a match m / n of the time, and then each rank before it (m - 1) / (n - 1)."""
    harmonic = np.cumsum(1 / np.arange(1, int(n.max()) + 1))[n.astype(int) - 1]
    return harmonic / n + (n - harmonic) / n * (m - 1) / (n - 1).clip(min=1)


def _penalty(m: int, n: int) -> float:
    """Mean of m / (rank of the last match): the last one is at r in as many orders as the others fit in front of it."""
    last = np.arange(m, n + 1)
    ways = gammaln(last) - gammaln(m) - gammaln(last - m + 1)
    return float((np.exp(ways - (gammaln(n + 1) - gammaln(m + 1) - gammaln(n - m + 1))) * m / last).sum())
