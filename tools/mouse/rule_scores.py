"""What each rule for labels does on a split: the scores that a rule can change. C classes."""

from collections.abc import Sequence

import numpy as np

from tarpon.train.metrics.confusion import frame_scores
from tarpon.train.metrics.names import score_keys
from tarpon.train.tasks.mouse.decision.rule import Rule, answer_by, measure
from tarpon.train.tasks.mouse.metrics.counts import measure_edits
from tarpon.train.tasks.mouse.metrics.trial import Trial, count_confusion

RARE_SHARE = 0.1  # of the labelled frames: a class with less is rare


def score_rule(rule: Rule, trials: Sequence[Trial], *, classes: Sequence[str]) -> dict[str, float]:
    """macro_f1, f1_, precision_ and recall_<class>, segment_f1_50 and edit of the rule's labels, among others; NaN where
    undefined."""
    answered = answer_by(rule, trials)
    _, bouts = measure(answered, len(classes))
    edits = measure_edits(answered, rest=None)[0]
    scores = frame_scores(count_confusion(answered, len(classes)), names=score_keys(classes))
    return scores | {"segment_f1_50": bouts, "edit": float(np.nanmean(edits)) if np.isfinite(edits).any() else float("nan")}


def list_rare(trials: Sequence[Trial], *, classes: Sequence[str]) -> list[str]:
    """The classes with some, but less than RARE_SHARE, of the labelled frames."""
    frames = count_confusion(trials, len(classes)).sum(1)
    return [name for name, own in zip(classes, frames, strict=True) if 0 < own < RARE_SHARE * frames.sum()]
