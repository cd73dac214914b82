"""The control of every cells score: before the onset nothing of the infection is to be seen, so the AUC there must be near 0.5.

Where it is not, something else than the infection (wells, light, day, the file's levels) tells the classes apart, and may be
what the other scores are made of.
"""

import math
from collections.abc import Mapping

import numpy as np

from tarpon.train.tasks.cells.metrics.pairs import roc_auc
from tarpon.train.tasks.cells.metrics.predictions import PageRows

NEAR = 0.1  # of 0.5: an AUC of 0.4 to 0.6 of a few wells is a guess
BEFORE, AFTER = "auc_before_onset", "auc_from_onset"
EARLY = "Before the onset, where nothing of the infection is to be seen"


def split_at_onset(rows: PageRows) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool: pages of either class from before any infection, and those from which on it may be seen.

    Where wells are infected at different hours, the first are those before the earliest of these hours, so that both classes
    are compared at the same hours; the second are infected pages from their own hour on, healthy ones from the earliest on.
    """
    infected, known = rows.label == 1, np.isfinite(rows.onset)
    earliest = rows.onset[infected & known].min() if (infected & known).any() else np.nan
    before = rows.clock < earliest
    return before, known & (rows.clock >= np.where(infected, rows.onset, earliest))


def score_onset(rows: PageRows) -> dict[str, float]:
    """auc_before_onset, auc_from_onset, rows_before_onset; NaN where no page's onset is known or a class is missing."""
    known, (before, after) = np.isfinite(rows.onset), split_at_onset(rows)
    return {
        BEFORE: roc_auc(rows.label[before], rows.prob[before]),
        AFTER: roc_auc(rows.label[after], rows.prob[after]),
        "rows_before_onset": float(before.sum()) if known.any() else math.nan,
    }


def is_near_guess(scores: Mapping[str, float]) -> bool:
    """Whether the AUC before the onset is that of a guess: within NEAR of 0.5, and no interval that leaves 0.5 out."""
    value = scores.get(BEFORE)
    if value is None or not abs(value - 0.5) <= NEAR:
        return False
    return scores.get(f"{BEFORE}_low", 0.5) <= 0.5 <= scores.get(f"{BEFORE}_high", 0.5)


def describe_control(scores: Mapping[str, float]) -> str:
    """One sentence: what the AUC before the onset is, and what that means for the other scores."""
    if BEFORE not in scores:
        return (
            "There are no pages of both classes from before the onset, so nothing shows that it is the infection that tells "
            "the classes apart; keep such pages in frames.test"
        )
    value = f"{scores[BEFORE]:.3f}"
    if f"{BEFORE}_low" in scores:
        value += f" (95% {scores[f'{BEFORE}_low']:.3f} to {scores[f'{BEFORE}_high']:.3f})"
    if is_near_guess(scores):
        return f"{EARLY}, AUC is {value}: near 0.5, a guess, as it must be"
    return (
        f"{EARLY}, AUC is {value}, not near 0.5: something else than the infection (wells, light, day, grey levels) tells the "
        f"classes apart, and the other scores may rest on it"
    )
