"""Is the animal in the photograph one of the gallery's at all? Answered by the highest similarity to anything in the gallery.

The known animal is the positive: a false positive is a new animal taken for a known one, a true positive a known one that is
not called new. K queries of known animals, N of new ones.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from tarpon.train.tasks.star.metrics.retrieval import Retrieval

RATES = (0.01, 0.05, 0.1)  # false positive rates at which the true positive rate is reported
FREE = 1e9  # inverse strength of a penalty that is not wanted; Platt's targets keep the fit finite


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """How to tell a new animal by the highest similarity of its photograph to the gallery."""

    threshold: float  # known from here on, new below
    false_positive_rate: float  # share of new animals that may pass for known, as asked for
    slope: float  # of the logistic curve; below 0, as more similar is less new
    intercept: float

    def probability(self, similarity: np.ndarray) -> np.ndarray:
        """That the animal is new, where new and known are equally likely beforehand."""
        return 1 / (1 + np.exp(-(self.slope * np.asarray(similarity, np.float64) + self.intercept)))

    def is_new(self, similarity: np.ndarray) -> np.ndarray:
        """Bool of the same shape: below the threshold."""
        return np.asarray(similarity) < self.threshold


def open_set_scores(known: np.ndarray, new: np.ndarray) -> dict[str, float]:
    """open_auroc, and open_tpr_at_fpr_1, _5, _10 (percent): the largest true positive rate within that false positive rate.

    Args:
        known: (K,) highest gallery similarity of queries whose animal is in the gallery.
        new: (N,) of those whose animal is not. Without either the result is empty.
    """
    if not len(known) or not len(new):
        return {}
    truth = np.repeat([True, False], [len(known), len(new)])
    given = np.concatenate([known, new])
    fpr, tpr, _ = roc_curve(truth, given, drop_intermediate=False)
    scores = {f"open_tpr_at_fpr_{rate:.0%}".rstrip("%"): float(tpr[fpr <= rate].max()) for rate in RATES}
    return {"open_auroc": float(roc_auc_score(truth, given)), **scores}


def fit_threshold(new: np.ndarray, *, fpr: float) -> float:
    """The lowest similarity from which on at most this share of the new animals (N,) would be called known."""
    if not 0 <= fpr < 1:
        raise ValueError(f"fpr={fpr} must be in [0, 1)")
    falling = np.sort(new)[::-1]
    first = falling[int(np.floor(fpr * len(falling) + 1e-9))]  # the most similar one that must be called new
    return float(np.nextafter(first, falling.dtype.type(np.inf)))  # in its own precision, as it will be compared in


def fit_novelty_rule(retrieval: Retrieval, *, fpr: float = 0.05) -> Novelty:
    """Learn the decision from a search that holds no new animal: each query's own identity, taken out, makes it one.

    What a query has as its highest similarity stands for a known animal, what it has with any other identity for a new one.
    The probability is Platt's (1999): a logistic curve through targets drawn in a little, so that it stays finite where the
    two can be told apart without error.

    Raises:
        ValueError: no query has both a match and another identity to be compared with.
    """
    both = np.isfinite(retrieval.best_own) & np.isfinite(retrieval.best_other)
    if not both.any():
        raise ValueError("no query has a match and another identity in the gallery; the new-animal decision needs both")
    known, new = retrieval.best[both], retrieval.best_other[both]
    slope, intercept = fit_logistic(known, new)
    return Novelty(threshold=fit_threshold(new, fpr=fpr), false_positive_rate=fpr, slope=slope, intercept=intercept)


def fit_logistic(known: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of P(new | similarity), both kinds weighing the same."""
    similarity = np.concatenate([known, new]).astype(np.float64)
    centre, spread = similarity.mean(), similarity.std() or 1.0
    scaled = np.tile((similarity - centre) / spread, 2)[:, None]
    target = np.repeat([1 / (len(known) + 2), (len(new) + 1) / (len(new) + 2)], [len(known), len(new)])
    size = np.repeat([1 / len(known), 1 / len(new)], [len(known), len(new)]) * len(similarity) / 2
    truth = np.repeat([1, 0], len(similarity))  # every photograph as new and as known, as much as its target says
    weight = np.concatenate([target * size, (1 - target) * size])
    fit = LogisticRegression(C=FREE).fit(scaled, truth, sample_weight=weight)
    slope = float(fit.coef_[0, 0] / spread)
    return slope, float(fit.intercept_[0] - slope * centre)
