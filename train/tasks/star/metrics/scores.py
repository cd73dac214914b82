"""All scores of a search: over its queries, by identity, by outing folder and by data set. Q queries, I identities."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tarpon.train.metrics.bootstrap import bootstrap_interval
from tarpon.train.metrics.confusion import ratio
from tarpon.train.tasks.star.metrics.retrieval import Retrieval

RANKS = (1, 5, 10, 20)  # of the cumulative matching characteristic
MIN_QUERIES = 4  # of a data set that is scored by itself, as published
MEANS = ("map", "map_at_r", "minp", *(f"cmc_{k}" for k in RANKS), "mean_rank")


def score(retrieval: Retrieval, *, identities: np.ndarray, resamples: int = 1000, seed: int = 0) -> dict[str, float]:
    """Score a search over the queries that have a match; those that have none are counted and left out.

    Keys: map, map_at_r (mean average precision, of all matches and of the first R ranks), minp, cmc_1, cmc_5, cmc_10, cmc_20
    (share with a match among the first), mean_rank, best_rank, worst_rank (of the first match), num_valid_queries,
    num_skipped_queries, num_identities. map, cmc_1 and minp also with _low and _high: 95% over identities.

    Args:
        identities: (Q,) of the queries.
        resamples: of the bootstrap; 0: no intervals.

    Raises:
        ValueError: no query has a match.
    """
    valid = retrieval.valid
    if not valid.any():
        raise ValueError(
            f"all {len(retrieval)} queries are without a match in the gallery: no query identity is in it; look at the "
            f"identity and split columns of the manifest"
        )
    scored, identities = retrieval.take(valid), np.asarray(identities)[valid]
    values = _values(scored)
    names, group = np.unique(identities, return_inverse=True)
    out = {name: float(values[name].mean()) for name in MEANS}
    out |= {
        "best_rank": float(scored.first_rank.min()),
        "worst_rank": float(scored.first_rank.max()),
        "num_valid_queries": float(len(scored)),
        "num_skipped_queries": float((~valid).sum()),
        "num_identities": float(len(names)),
    }
    return out | (_intervals(values, group, resamples=resamples, seed=seed) if resamples else {})


def score_identities(retrieval: Retrieval, *, identities: np.ndarray, outings: np.ndarray) -> list[dict[str, float | str]]:
    """One record an identity with a scored query, the highest map first: identity, folder (its queries' outings), mean_rank,
    best_rank, worst_rank (of the first match), num_queries, map, cmc_1, cmc_5, cmc_10, cmc_20.

    Args:
        identities: (Q,). outings: (Q,) folder of each query, the whole path.
    """
    records = []
    for name, part, at in _groups(retrieval, identities):
        ends = {"best_rank": int(part.first_rank.min()), "worst_rank": int(part.first_rank.max())}
        folder = ";".join(np.unique(np.asarray(outings)[at]).tolist())
        records.append({"identity": name, "folder": folder, **_record(part), **ends})
    return _best_first(records, "identity")


def score_folders(retrieval: Retrieval, *, identities: np.ndarray, outings: np.ndarray) -> list[dict[str, float | str]]:
    """One record an outing with a scored query, the highest map first: folder, num_identities, mean_rank, std_rank,
    num_queries, map, cmc_1, cmc_5, cmc_10, cmc_20.

    An outing is a whole path, so folders of the same name below other identities or data sets stay apart. std_rank is that of
    a sample, and 0 of a single query.
    """
    records = []
    for name, part, at in _groups(retrieval, outings):
        spread = float(part.first_rank.std(ddof=1)) if len(part) > 1 else 0.0
        count = len(np.unique(np.asarray(identities)[at]))
        records.append({"folder": name, "num_identities": count, **_record(part), "std_rank": spread})
    return _best_first(records, "folder")


def score_datasets(retrieval: Retrieval, *, datasets: np.ndarray, least: int = MIN_QUERIES) -> dict[str, float]:
    """map_<data set>, cmc_1_<data set> and queries_<data set> of every one with a scored query; map_macro and cmc_1_macro, the
    plain means over those with at least so many, and num_datasets, how many these are; without means where there is none."""
    found = {name: _record(part) for name, part, _ in _groups(retrieval, datasets)}
    out = {f"{key}_{name}": record[key] for key in ("map", "cmc_1") for name, record in found.items()}
    out |= {f"queries_{name}": float(record["num_queries"]) for name, record in found.items()}
    enough = [record for record in found.values() if record["num_queries"] >= least]
    if enough:
        out |= {f"{key}_macro": float(np.mean([record[key] for record in enough])) for key in ("map", "cmc_1")}
        out["num_datasets"] = float(len(enough))
    return out


def cmc_curve(retrieval: Retrieval, *, most: int) -> np.ndarray:
    """(most,) share of the queries with a match whose first match is within rank 1, 2, ... `most`."""
    ranks = retrieval.first_rank[retrieval.valid]
    return np.cumsum(np.bincount(ranks.clip(max=most + 1), minlength=most + 2)[1 : most + 1]) / len(ranks)


def _values(scored: Retrieval) -> dict[str, np.ndarray]:
    """(Q,) what each score is the mean of, of queries that have a match."""
    return {
        "map": scored.average_precision,
        "map_at_r": scored.average_precision_at_r,
        "minp": scored.inverse_negative_penalty,
        **{f"cmc_{k}": scored.hit(k).astype(np.float64) for k in RANKS},
        "mean_rank": scored.first_rank.astype(np.float64),
    }


def _groups(retrieval: Retrieval, names: np.ndarray) -> Iterator[tuple[str, Retrieval, np.ndarray]]:
    """(name, its scored queries, their indices), in order of name."""
    scored = np.flatnonzero(retrieval.valid)
    found, group = np.unique(np.asarray(names)[scored], return_inverse=True)
    parts = np.split(scored[np.argsort(group, kind="stable")], np.cumsum(np.bincount(group))[:-1])
    return ((str(name), retrieval.take(at), at) for name, at in zip(found, parts, strict=True))


def _record(part: Retrieval) -> dict[str, float]:
    values = _values(part)
    names = ("mean_rank", "map", *(f"cmc_{k}" for k in RANKS))
    return {"num_queries": len(part)} | {name: float(values[name].mean()) for name in names}


def _best_first(records: Sequence[dict], name: str) -> list[dict]:
    return sorted(records, key=lambda record: (-record["map"], record[name]))


def _intervals(values: dict[str, np.ndarray], group: np.ndarray, *, resamples: int, seed: int) -> dict[str, float]:
    queries = np.bincount(group)
    out = {}
    for name in ("map", "cmc_1", "minp"):
        sums = np.stack([np.bincount(group, weights=values[name]), queries], 1)  # (I, 2)
        ends = bootstrap_interval(sums, lambda total: ratio(total[:, 0], total[:, 1]), resamples=resamples, seed=seed)
        out |= {f"{name}_{end}": value for end, value in zip(("low", "high"), ends, strict=True) if math.isfinite(value)}
    return out
