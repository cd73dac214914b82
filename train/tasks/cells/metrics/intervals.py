"""How far a split's scores could move had other wells been filmed: intervals over wells. G groups, N pages.

Pages of one stack are alike, and so are stacks of one well (its light, density and day), so wells are what is drawn again.
Where a class has one well only, its spread over wells cannot be known: stacks are drawn then, and whoever shows the interval
says so, for it tells nothing of another well.
"""

from collections.abc import Sequence

import numpy as np

from tarpon.train.metrics.bootstrap import bootstrap_interval
from tarpon.train.metrics.confusion import ratio
from tarpon.train.tasks.cells.metrics.control import compare_at_onsets
from tarpon.train.tasks.cells.metrics.pairs import count_group_pairs, resampled_roc_auc
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, THRESHOLD, PageRows

WELLS, STACKS = "wells", "stacks"


def choose_unit(rows: PageRows) -> str:
    """What intervals are drawn over: wells where each class that occurs has two or more of them, else stacks."""
    wells = (len(set(rows.well[rows.label == label].tolist())) for label in np.unique(rows.label))
    return WELLS if all(count > 1 for count in wells) else STACKS


def describe_unit(rows: PageRows) -> str:
    """The same in words, with their number: "16 wells", "8 stacks of 2 wells (...)"."""
    wells, stacks = (len(set(names.tolist())) for names in (rows.well, rows.stack))
    if choose_unit(rows) == WELLS:
        return f"{wells} wells"
    return f"{stacks} stack{'s' * (stacks > 1)} of {wells} well{'s' * (wells > 1)} (it tells nothing of other wells)"


def number_groups(rows: PageRows) -> np.ndarray:
    """(N,) int64 number of the well, or stack, that a page is drawn with, from 0."""
    names = rows.well if choose_unit(rows) == WELLS else rows.stack
    return np.unique(names, return_inverse=True)[1]


def score_intervals(rows: PageRows, *, resamples: int, seed: int) -> dict[str, float]:
    """auc, f1, mae, auc_before_onset, auc_from_onset, each _low and _high: 95% over wells or stacks.

    Not those that need both classes where one of them has a single stack.
    """
    group = number_groups(rows)
    said, true = rows.prob >= THRESHOLD, rows.label == 1
    columns = [said & true, said.astype(np.float64) + true, np.abs(rows.error()), np.ones(len(rows))]
    counts = np.stack([np.bincount(group, weights=column) for column in columns], 1)  # (G, 4)
    out = _interval("mae", counts, lambda sums: ratio(sums[:, 2], sums[:, 3]), resamples=resamples, seed=seed)
    if has_lone_group(rows.label, group):  # drawn with it or not at all, it would make an interval of no width
        return out
    out |= _interval("f1", counts, lambda sums: ratio(2 * sums[:, 0], sums[:, 1]), resamples=resamples, seed=seed)
    for name, among in {"auc": [np.ones(len(rows), bool)], **compare_at_onsets(rows)}.items():
        low, high = auc_interval(rows.label, rows.prob, group, among=among, resamples=resamples, seed=seed)
        out |= {f"{name}_low": low, f"{name}_high": high}
    return out


def auc_interval(
    label: np.ndarray, prob: np.ndarray, group: np.ndarray, *, among: Sequence[np.ndarray], resamples: int, seed: int
) -> tuple[float, float]:
    """95% interval of the area over the pairs within each of `among`, (N,) bool, drawn by groups; NaN where it cannot be known.

    Args:
        label, prob, group: (N,) of the pages.
    """
    used = np.any(among, axis=0) if len(among) else np.zeros(len(label), bool)
    if len(np.unique(label[used])) < len(CONDITIONS) or has_lone_group(label[used], group[used]):
        return float("nan"), float("nan")
    present = np.unique(group[used])
    won, pairs = np.zeros((2, len(present), len(present)))
    for at in among:
        number = np.searchsorted(present, group[at])
        if len(number):
            own_won, own_pairs = count_group_pairs(label[at], prob[at], number)
            won[: len(own_won), : len(own_won)] += own_won
            pairs[: len(own_pairs), : len(own_pairs)] += own_pairs
    # An area is no sum over groups, so its resamples are handed the groups' weights themselves: the identity's sums.
    areas = bootstrap_interval(
        np.eye(len(won)), lambda weights: resampled_roc_auc(weights, won, pairs), resamples=resamples, seed=seed
    )
    return areas


def has_lone_group(label: np.ndarray, group: np.ndarray) -> bool:
    """Whether a class that occurs comes from one group only."""
    return any(len(set(group[label == value].tolist())) == 1 for value in range(len(CONDITIONS)))


def _interval(name: str, counts: np.ndarray, statistic, *, resamples: int, seed: int) -> dict[str, float]:
    low, high = bootstrap_interval(counts, statistic, resamples=resamples, seed=seed)
    return {f"{name}_low": low, f"{name}_high": high}
