"""Frame-wise scores, all read from a confusion matrix.

C classes; `...` is any number of leading axes (none, groups, bootstrap resamples).
"""

from collections.abc import Sequence

import numpy as np


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole in float64, NaN where whole is 0: an undefined score is never shown as 0 or 1."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole != 0)


def class_f1(matrix: np.ndarray) -> np.ndarray:
    """(..., C, C) counts -> (..., C) F1 = 2 tp / (2 tp + fp + fn); NaN for a class without true frames."""
    support = matrix.sum(-1)
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    f1 = ratio(2 * hits, support + matrix.sum(-2))
    return np.where(support > 0, f1, np.nan)


def macro_f1(matrix: np.ndarray) -> np.ndarray:
    """(..., C, C) counts -> (...) mean F1 over the classes that have true frames; NaN without any.

    Equals sklearn's f1_score(labels=<classes in the truth>, average="macro", zero_division=0). A class that is only ever
    predicted has no recall to speak of: its false positives already lower the others' recall.
    """
    f1 = class_f1(matrix)
    return ratio(np.nansum(f1, -1), np.isfinite(f1).sum(-1))


def frame_scores(matrix: np.ndarray, *, names: Sequence[str]) -> dict[str, float]:
    """(C, C) counts and key-safe class names -> flat scores; NaN where undefined.

    macro_f1 is the plain mean of the f1_<class> that are defined. majority_macro_f1 is what always answering the most
    frequent true class of these very frames would score: the bar to beat.
    """
    support, predicted, hits = matrix.sum(1), matrix.sum(0), np.diagonal(matrix)
    recall, precision, f1 = ratio(hits, support), ratio(hits, predicted), class_f1(matrix)
    always = np.zeros_like(matrix)
    always[:, support.argmax()] = support
    out = {
        "frames": support.sum(),
        "accuracy": ratio(hits.sum(), support.sum()),
        "balanced_accuracy": ratio(np.nansum(recall), (support > 0).sum()),
        "macro_f1": macro_f1(matrix),
        "majority_macro_f1": macro_f1(always),
    }
    for c, name in enumerate(names):
        out |= {
            f"f1_{name}": f1[c],
            f"precision_{name}": precision[c],
            f"recall_{name}": recall[c],
            f"support_{name}": support[c],
        }
    return {key: float(value) for key, value in out.items()}
