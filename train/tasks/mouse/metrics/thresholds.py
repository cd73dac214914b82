"""One-vs-rest thresholds on class probabilities. Fit them on val, score them elsewhere: fitted and scored on the same
frames they flatter the model."""

from collections.abc import Sequence

import numpy as np

from tarpon.train.metrics.confusion import ratio
from tarpon.train.tasks.mouse.metrics.trial import Trial, check_trials

GRID = np.linspace(0.1, 0.9, 17)


def fit_thresholds(trials: Sequence[Trial], classes: Sequence[str]) -> np.ndarray:
    """(C,) float64: for each class the threshold of GRID with the best one-vs-rest F1 on labelled frames.

    Ties go to the one nearest 0.5 (then to the lower), so a class that is absent or never found keeps 0.5.
    """
    check_trials(trials, classes=classes)
    return choose_thresholds(count_reaching(trials, len(classes)))


def count_reaching(trials: Sequence[Trial], num_classes: int) -> np.ndarray:
    """(C, 2, 18) int64 labelled frames of the class, and of all classes, whose probability of it reaches 0, 1, ... 17 of GRID's
    thresholds and no more. Add them up over trials, then choose_thresholds."""
    total = np.zeros((num_classes, 2, len(GRID) + 1), np.int64)
    if trials:
        truth, probs = _collect_labelled(trials)
        for c, (own, every) in enumerate(total):
            passed = np.searchsorted(GRID.astype(np.float32), probs[:, c], side="right")
            own += np.bincount(passed[truth == c], minlength=len(own))
            every += np.bincount(passed, minlength=len(own))
    return total


def choose_thresholds(counts: np.ndarray) -> np.ndarray:
    """(C,) `fit_thresholds` of summed counts (C, 2, 18)."""
    near_half = np.argsort(np.abs(GRID - 0.5).round(6), kind="stable")
    found, given = np.moveaxis(counts[..., ::-1].cumsum(-1)[..., ::-1][..., 1:], 1, 0)  # (C, 17) frames that reach each
    f1 = 2 * found / np.maximum(given + counts[:, :1].sum(-1), 1)
    return GRID[near_half[f1[:, near_half].argmax(1)]]


def thresholded_macro_f1(trials: Sequence[Trial], thresholds: np.ndarray) -> float:
    """Mean one-vs-rest F1 of `probs >= thresholds` over the classes that have true frames; NaN without any.

    A frame may pass no threshold or several, so this is not the F1 of a labelling: never compare it with macro_f1.
    """
    truth, probs = _collect_labelled(trials)
    C = probs.shape[1]
    if np.shape(thresholds) != (C,):
        raise ValueError(f"thresholds must be ({C},), one a class, got {np.shape(thresholds)}")
    passed = probs >= np.asarray(thresholds, np.float32)  # a float32 0.9 must reach the threshold 0.9
    true = truth[:, None] == np.arange(C)
    f1 = ratio(2 * (passed & true).sum(0), passed.sum(0) + true.sum(0))[true.any(0)]
    return float(ratio(f1.sum(), len(f1)))


def _collect_labelled(trials: Sequence[Trial]) -> tuple[np.ndarray, np.ndarray]:
    truth = np.concatenate([trial.actions for trial in trials])
    probs = np.concatenate([trial.probs for trial in trials])
    return truth[truth >= 0], probs[truth >= 0]
