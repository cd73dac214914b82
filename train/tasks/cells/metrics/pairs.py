"""Area under the ROC curve from counts of pairs: over all pages, at equal hours, and under resampling of groups.

The area is the share of (positive, negative) pairs in which the positive has the higher score, a tie counting half
(Hanley and McNeil, Radiology 1982). N rows, G groups.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from tarpon.train.metrics.confusion import ratio


def roc_auc(label: np.ndarray, score: np.ndarray) -> float:
    """Of label (N,) 0 or 1 and score (N,); NaN where one class is missing."""
    return float(roc_auc_score(label, score)) if len(np.unique(label)) == 2 else float("nan")


def matched_roc_auc(label: np.ndarray, score: np.ndarray, bins: np.ndarray) -> float:
    """Area over those pairs alone whose two rows share a bin: the bins' areas, weighted by their pairs.

    So information in the bin alone (an hour at which only one class was filmed) raises no score. This is the
    stratified form of the covariate-adjusted ROC curve (Janes and Pepe, Biometrika 2009), which weighs by positives instead;
    both agree where a bin holds as many negatives as any other. NaN without a pair.

    Args:
        bins: (N,) whole numbers.
    """
    return _pool(label, score, (bins == value for value in np.unique(bins)))


def pooled_roc_auc(label: np.ndarray, score: np.ndarray, among: Sequence[np.ndarray]) -> float:
    """Area over the pairs within each of `among`, (N,) bool, together; NaN without a pair. A row may be in several of them."""
    if len(among) == 1:
        return roc_auc(label[among[0]], score[among[0]])
    return _pool(label, score, among)


def _pool(label: np.ndarray, score: np.ndarray, among: Iterable[np.ndarray]) -> float:
    """The areas of parts of the rows, weighted by their pairs."""
    wins = pairs = 0.0
    for at in among:
        positives = int((label[at] == 1).sum())
        count = positives * (int(at.sum()) - positives)
        if count:
            wins += count * roc_auc(label[at], score[at])
            pairs += count
    return float(ratio(wins, pairs))


def count_group_pairs(label: np.ndarray, score: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(G, G) float64 pairs won and pairs in all, of the positives of the row's group with the negatives of the column's.

    With a resample's weights w (G,) its area is (w @ won @ w) / (w @ pairs @ w): exact, without sorting the rows again.

    Args:
        group: (N,) int64 in [0, G).
    """
    groups = int(group.max()) + 1
    positive = label == 1
    owner, given = group[positive], score[positive]
    won, pairs = np.zeros((groups, groups)), np.zeros((groups, groups))
    for other in np.unique(group[~positive]):
        rivals = np.sort(score[~positive & (group == other)])
        beaten = (np.searchsorted(rivals, given, "left") + np.searchsorted(rivals, given, "right")) / 2
        won[:, other] = np.bincount(owner, weights=beaten, minlength=groups)
        pairs[:, other] = len(rivals) * np.bincount(owner, minlength=groups)
    return won, pairs


def resampled_roc_auc(weights: np.ndarray, won: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(S, G) weights of the groups -> (S,) areas; NaN where a resample lacks a class."""
    return ratio(((weights @ won) * weights).sum(1), ((weights @ pairs) * weights).sum(1))
