"""How well classes and hours are told as time goes on: by windows of the clock, with intervals over wells.

K windows, G groups that are drawn again (wells, where each class has several), S resamples, N pages. One draw of the groups
serves all windows, so that what is said of the windows together (the first good hour) has an interval too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tarpon.train.metrics.confusion import ratio
from tarpon.train.tasks.cells.metrics.intervals import describe_unit, has_lone_group, number_groups
from tarpon.train.tasks.cells.metrics.pairs import count_group_pairs, resampled_roc_auc
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, PageRows
from tarpon.train.tasks.cells.metrics.windows import GOOD_AUC, STRIDE_H, WINDOW_H, find_good_hour, score_windows

ENDS = (0.025, 0.975)  # of the 95% intervals


@dataclass(frozen=True, kw_only=True)
class TemporalScores:
    """Scores over the clock."""

    windows: tuple[Mapping[str, float], ...]  # start_h, end_h, middle_h, pages, infected; auc, mae, mae_<class>, _low, _high
    level: float  # AUC that is asked for
    first_hour: float  # middle of the first window from which on all windows have that AUC; NaN: not within the hours filmed
    first_hour_interval: tuple[float, float] | None  # inf: not within the hours filmed; None: not to be known
    unit: str  # what the intervals are over


def score_over_time(
    rows: PageRows,
    *,
    level: float = GOOD_AUC,
    width: float = WINDOW_H,
    stride: float = STRIDE_H,
    resamples: int = 1000,
    seed: int = 0,
) -> TemporalScores:
    """Scores by windows of `width` hours, one every `stride` hours; level: the AUC that the first hour is asked of."""
    found = score_windows(rows, width=width, stride=stride)
    group = number_groups(rows)
    weights = draw_weights(int(group.max()) + 1, resamples=resamples, seed=seed)
    records, areas = [], []
    for window in found:
        at = (rows.clock >= window.start) & (rows.clock < window.end)
        own = rows.take(at)
        record = {"start_h": window.start, "end_h": window.end, "middle_h": window.centre}
        record |= {"pages": window.scores["rows"], "infected": window.scores["infected"]}
        area = _resampled_areas(own, group[at], weights)
        areas.append(area)
        record |= {"auc": window.scores["auc"], **_ends("auc", area)}
        for name, chosen in _parts(own).items():
            record |= _error_scores(name, np.abs(own.error()), group[at], chosen, weights)
        records.append(record)
    return TemporalScores(
        windows=tuple(records),
        level=level,
        first_hour=find_good_hour(found, level=level),
        first_hour_interval=_first_hours(np.stack(areas, 1), np.array([window.centre for window in found]), level=level),
        unit=describe_unit(rows),
    )


def draw_weights(groups: int, *, resamples: int, seed: int) -> np.ndarray:
    """(S, G) float64: how often each group is drawn, with replacement, as many times as there are groups."""
    drawn = np.random.default_rng(seed).integers(groups, size=(resamples, groups))
    return np.stack([np.bincount(row, minlength=groups) for row in drawn]).astype(np.float64)


def _parts(rows: PageRows) -> dict[str, np.ndarray]:
    """Name of an error -> (N,) bool, the pages that it is over."""
    return {"mae": np.ones(len(rows), bool)} | {f"mae_{name}": rows.label == i for i, name in enumerate(CONDITIONS)}


def _resampled_areas(rows: PageRows, group: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(S,) areas under resampling; NaN where they cannot be known."""
    if len(np.unique(rows.label)) < len(CONDITIONS) or has_lone_group(rows.label, group):
        return np.full(len(weights), np.nan)
    present, own = np.unique(group, return_inverse=True)
    won, pairs = count_group_pairs(rows.label, rows.prob, own)
    return resampled_roc_auc(weights[:, present], won, pairs)


def _error_scores(name: str, error: np.ndarray, group: np.ndarray, chosen: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    sums, counts = (
        np.bincount(group[chosen], weights=values, minlength=weights.shape[1])
        for values in (error[chosen], np.ones(int(chosen.sum())))
    )
    means = ratio(weights @ sums, weights @ counts) if (counts > 0).sum() > 1 else np.full(len(weights), np.nan)
    return {name: float(ratio(sums.sum(), counts.sum())), **_ends(name, means)}


def _ends(name: str, values: np.ndarray) -> dict[str, float]:
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, ENDS) if len(values) else (math.nan, math.nan)
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def _first_hours(areas: np.ndarray, centres: np.ndarray, *, level: float) -> tuple[float, float] | None:
    """Interval of the first good hour of (S, K) areas; a window of one class says nothing."""
    known = np.isfinite(areas)
    if not known.any():
        return None
    stays = np.logical_and.accumulate((~known | (areas >= level))[:, ::-1], 1)[:, ::-1] & known
    hours = np.where(stays.any(1), centres[stays.argmax(1)], np.inf)
    low, high = np.quantile(hours[known.any(1)], ENDS, method="inverted_cdf")  # of hours that occur: inf has no middle
    return float(low), float(high)
