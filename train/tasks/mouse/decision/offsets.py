"""One offset a class, added to its log probability before the largest is taken, so that macro F1 is highest.

N frames, C classes, G values of the grid.
"""

import numpy as np

from tarpon.train.metrics.confusion import macro_f1

GRID = np.linspace(-2.0, 2.0, 17)  # natural logarithm: probabilities are weighted by 0.14 to 7.4
COST = 0.004  # of macro F1 for an offset of 1: a step of the grid has to earn 0.001
ROUNDS = 20  # over all classes; on few frames 2 to 4 are enough


def fit_offsets(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Offsets of GRID by coordinate search from 0: class by class the best value, the others held, until none changes.

    What is maximised is macro F1 of argmax(scores + offsets) less COST times the sum of the absolute offsets; of equals the
    one nearest 0 (then the lower) is taken. A class without true frames keeps 0: nothing here tells what it should be.

    Args:
        scores: (N, C) log probabilities.
        truth: (N,) class of each frame, all labelled.

    Returns:
        (C,) float64.
    """
    offsets = np.zeros(scores.shape[1])
    near_zero = np.argsort(np.abs(GRID), kind="stable")
    for _ in range(ROUNDS):
        before = offsets.copy()
        for c in np.unique(truth):
            rest = np.abs(offsets).sum() - abs(offsets[c])
            value = macro_f1(count_along_grid(scores, truth, offsets=offsets, label=c)) - COST * (rest + np.abs(GRID))
            offsets[c] = GRID[near_zero[value[near_zero].argmax()]]
        if np.array_equal(offsets, before):
            break
    return offsets


def count_along_grid(scores: np.ndarray, truth: np.ndarray, *, offsets: np.ndarray, label: int) -> np.ndarray:
    """(G, C, C) int64 confusion, row the true class, for each value of GRID as the offset of `label` in place of its own.

    One pass over the frames: from some value on a frame is given `label`, below it the best of the others.
    """
    C = scores.shape[1]
    others = scores + offsets
    others[:, label] = -np.inf
    rival = others.argmax(1)
    margin = others[np.arange(len(truth)), rival] - scores[:, label]
    # the first value that is enough; of equal scores the lower class is taken, as argmax does
    enough = np.where(label < rival, np.searchsorted(GRID, margin, side="left"), np.searchsorted(GRID, margin, side="right"))
    cell = (truth * C + rival) * (len(GRID) + 1) + enough
    frames = np.bincount(cell, minlength=C * C * (len(GRID) + 1)).reshape(C, C, len(GRID) + 1)
    given = frames.cumsum(-1)[..., :-1]  # (true, rival, G) frames that are given `label`
    matrix = np.moveaxis(frames.sum(-1)[..., None] - given, -1, 0)
    matrix[:, :, label] += np.moveaxis(given.sum(1), -1, 0)
    return matrix
