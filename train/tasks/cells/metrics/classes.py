"""Scores of the two classes at one threshold and over all of them. N pages."""

import numpy as np

from tarpon.train.metrics.confusion import ratio
from tarpon.train.tasks.cells.metrics.pairs import roc_auc
from tarpon.train.tasks.cells.metrics.predictions import THRESHOLD


def score_classes(label: np.ndarray, prob: np.ndarray) -> dict[str, float]:
    """auc, accuracy, balanced_accuracy, precision, recall, f1; NaN where undefined. label (N,) 0 or 1, prob (N,)."""
    called = prob >= THRESHOLD
    hits, true, num_called = ((label == 1) & called).sum(), (label == 1).sum(), called.sum()
    recall = ratio([(~called & (label == 0)).sum(), hits], [(label == 0).sum(), true])
    return {
        "auc": roc_auc(label, prob),
        "accuracy": float((called == (label == 1)).mean()),
        "balanced_accuracy": float(np.nanmean(recall)),
        "precision": float(ratio(hits, num_called)),
        "recall": float(recall[1]),
        "f1": float(ratio(2 * hits, true + num_called)),
    }
