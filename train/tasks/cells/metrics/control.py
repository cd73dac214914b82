"""The control of every cells score: before the onset nothing of the infection is to be seen, so the AUC there must be near 0.5.

Where it is not, something else than the infection (wells, light, day, the file's levels) tells the classes apart, and may be
what the other scores are made of.
"""

import math
from collections.abc import Mapping

import numpy as np

from tarpon.train.tasks.cells.metrics.pairs import pooled_roc_auc
from tarpon.train.tasks.cells.metrics.predictions import PageRows

NEAR = 0.1  # of 0.5: an AUC of 0.4 to 0.6 of a few wells is a guess
BEFORE, AFTER = "auc_before_onset", "auc_from_onset"
FIRST, LAST = "first_onset_h", "last_onset_h"  # of wells that were infected at several hours


def compare_at_onsets(rows: PageRows) -> dict[str, list[np.ndarray]]:
    """Pages to hold against each other before and from the onset: (N,) bool for each hour at which wells were infected.

    Of the wells infected at one hour, pages from before it with the healthy pages from before it, and pages from it on with
    the healthy ones from it on: every well by its own onset, and both classes over the same hours.
    """
    infected, known = rows.label == 1, np.isfinite(rows.onset)
    found: dict[str, list[np.ndarray]] = {BEFORE: [], AFTER: []}
    for hour in np.unique(rows.onset[infected & known]):
        own = infected & (rows.onset == hour)
        found[BEFORE].append((own | ~infected) & (rows.clock < hour))
        found[AFTER].append((own | ~infected & known) & (rows.clock >= hour))
    return found


def list_onsets(rows: PageRows) -> np.ndarray:
    """Hours of the clock, ascending, at which wells of infected pages were infected; of healthy pages where none is."""
    known = rows.onset[np.isfinite(rows.onset) & (rows.label == 1)]
    return np.unique(known if len(known) else rows.onset[np.isfinite(rows.onset)])


def score_onset(rows: PageRows) -> dict[str, float]:
    """auc_before_onset, auc_from_onset, rows_before_onset; where wells were infected at several hours the first and the last.

    NaN where no page's onset is known or a class is missing.
    """
    masks, onsets = compare_at_onsets(rows), list_onsets(rows)
    before = np.zeros(len(rows), bool)
    for mask in masks[BEFORE]:
        before |= mask
    areas = {name: pooled_roc_auc(rows.label, rows.prob, own) for name, own in masks.items()}
    ends = {FIRST: float(onsets[0]), LAST: float(onsets[-1])} if len(onsets) > 1 else {}
    return areas | {"rows_before_onset": float(before.sum()) if len(onsets) else math.nan} | ends


def describe_onsets(onsets: np.ndarray) -> str:
    """ "the onset at 2 h", or of wells infected at several hours "each well's own onset (1 to 6 h)"."""
    if not len(onsets):
        return "the onset"
    first, last = float(np.min(onsets)), float(np.max(onsets))
    return f"the onset at {first:g} h" if first == last else f"each well's own onset ({first:g} to {last:g} h)"


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
    when = "the onset"
    if FIRST in scores:
        when = describe_onsets(np.array([scores[FIRST], scores[LAST]]))
    early, value = f"Before {when}, where nothing of the infection is to be seen", f"{scores[BEFORE]:.3f}"
    if f"{BEFORE}_low" in scores:
        value += f" (95% {scores[f'{BEFORE}_low']:.3f} to {scores[f'{BEFORE}_high']:.3f})"
    if is_near_guess(scores):
        return f"{early}, AUC is {value}: near 0.5, a guess, as it must be"
    return (
        f"{early}, AUC is {value}, not near 0.5: something else than the infection (wells, light, day, grey levels) tells the "
        f"classes apart, and the other scores may rest on it"
    )
