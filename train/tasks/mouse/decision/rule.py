"""How frames get their labels from a model's probabilities: the most probable class, or a rule fitted on validation.

T frames, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tarpon.train.metrics.confusion import macro_f1
from tarpon.train.tasks.mouse.decision.offsets import fit_offsets
from tarpon.train.tasks.mouse.decision.viterbi import find_paths, fit_moves
from tarpon.train.tasks.mouse.metrics.segments import segment_counts, segment_f1
from tarpon.train.tasks.mouse.metrics.trial import Trial, check_trials, count_confusion

FLOOR = 1e-12  # a lower probability is taken as this: one frame's word must not outweigh a whole bout's
PARTS = 5  # of validation at most
LEAST_GAIN = 0.002  # of macro F1, for offsets to be used
STRENGTHS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)  # of moves beside log probabilities
SEGMENT_IOU = 0.5  # of the bouts that the strength is chosen by
ONE_TRIAL = "one validation trial cannot tell whether a rule holds on another"


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """A way from probabilities to labels; with offsets and moves of 0 it is argmax."""

    offsets: np.ndarray  # (C,) added to log probabilities
    moves: np.ndarray  # (C, C) added for the class of a frame (column) after that of the frame before (row)
    said: str  # what it is, and what it did on validation, in one line

    def label(self, probs: np.ndarray, *, trial_frames: int = 0) -> np.ndarray:
        """(T, C) probabilities of a recording -> (T,) int64 classes; ties go to the lowest.

        Args:
            trial_frames: length of the trials put end to end in it, each labelled by itself; 0: it is one.
        """
        length = trial_frames or len(probs)
        return np.concatenate(self.label_trials([probs[first : first + length] for first in range(0, len(probs), length)]))

    def label_trials(self, probs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(T, C) of each trial -> (T,) int64 of each."""
        scores = [to_scores(own) + self.offsets for own in probs]
        if not self.moves.any():
            return [own.argmax(1) for own in scores]
        return find_paths(scores, [self.moves] * len(scores))


def to_scores(probs: np.ndarray) -> np.ndarray:
    """(T, C) float64 log probabilities; a frame of padding (zeros), or without numbers (NaN), favours no class."""
    return np.log(np.fmax(probs.astype(np.float64), FLOOR))


def with_labels(trials: Sequence[Trial], labels: Sequence[np.ndarray]) -> list[Trial]:
    """The trials as if a model were sure of these labels, (T,) each: what scores of frames and of bouts are made of."""
    return [
        replace(trial, probs=np.eye(trial.probs.shape[1], dtype=np.float32)[own])
        for trial, own in zip(trials, labels, strict=True)
    ]


def answer_by(rule: Rule, trials: Sequence[Trial]) -> list[Trial]:
    """The trials with the rule's labels as their answers."""
    return with_labels(trials, rule.label_trials([trial.probs for trial in trials]))


def fit_rule(name: str, trials: Sequence[Trial], *, classes: Sequence[str]) -> Rule:
    """The rule of RULES that validation trials lead to.

    A rule is chosen by what it does on trials that it was not fitted to: validation is cut into parts by group (by trial
    where there is one group), and each part is labelled by what was fitted to the others. Where that gains nothing, and
    where there is one trial only, the rule is argmax.

    Raises:
        ValueError: an unknown name, or trials without a labelled frame.
    """
    if name not in RULES:
        raise ValueError(f"decide={name!r} must be {', '.join(RULES)}")
    check_trials(trials, classes=classes)
    labelled = [trial for trial in trials if (trial.actions >= 0).any()]
    if not labelled:
        raise ValueError(f"decide={name}: none of the {len(trials)} validation trials has a labelled frame to fit it on")
    parts = split_parts(labelled)
    if parts.max() == 0:
        return take_argmax(labelled, parts, classes, said=ONE_TRIAL)
    return RULES[name](labelled, parts, classes)


def take_argmax(
    trials: Sequence[Trial], parts: np.ndarray, classes: Sequence[str], *, said: str = "the most probable class of each frame"
) -> Rule:
    C = len(classes)
    return Rule(offsets=np.zeros(C), moves=np.zeros((C, C)), said=f"argmax: {said}")


def fit_thresholds(trials: Sequence[Trial], parts: np.ndarray, classes: Sequence[str]) -> Rule:
    """Offsets for macro F1."""
    neutral = take_argmax(trials, parts, classes)
    held_out = {part: replace(neutral, offsets=fit_to(others)) for part, others in leave_out(trials, parts)}
    labels = [held_out[part].label(trial.probs) for trial, part in zip(trials, parts, strict=True)]
    tried, _ = measure(with_labels(trials, labels), len(classes))
    before, _ = measure(trials, len(classes))
    told = f"macro F1 {tried:.3f} (argmax {before:.3f}) on validation trials left out of the fit"
    if tried < before + LEAST_GAIN:
        return take_argmax(trials, parts, classes, said=f"thresholds gain less than {LEAST_GAIN}: {told}")
    offsets = fit_to(trials)
    weights = ", ".join(f"{name} x{np.exp(own):.2f}" for name, own in zip(classes, offsets, strict=True) if own)
    return replace(neutral, offsets=offsets, said=f"thresholds: {weights or 'no class changed'}; {told}")


def fit_to(trials: Sequence[Trial]) -> np.ndarray:
    """(C,) `fit_offsets` on the labelled frames."""
    truth, probs = (np.concatenate([getattr(trial, name) for trial in trials]) for name in ("actions", "probs"))
    return fit_offsets(to_scores(probs[truth >= 0]), truth[truth >= 0])


def fit_viterbi(trials: Sequence[Trial], parts: np.ndarray, classes: Sequence[str]) -> Rule:
    """Moves of the labels, and of the strengths that cost no macro F1 the one with the highest segmental F1@50; of equals
    the one with the higher macro F1, then the smaller."""
    C, scores = len(classes), [to_scores(trial.probs) for trial in trials]
    held_out = {part: fit_moves([t.actions for t in others], num_classes=C) for part, others in leave_out(trials, parts)}
    tried = {}
    for strength in STRENGTHS:
        labels = find_paths(scores, [strength * held_out[part] for part in parts])
        frames, bouts = (round(value, 9) for value in measure(with_labels(trials, labels), C))
        tried[strength] = (bouts, frames, -strength)
    (bouts_before, frames_before, _) = tried[0.0]
    bouts, frames, minus = max(found for found in tried.values() if found[1] >= frames_before)
    told = (
        f"segmental F1@50 {bouts:.3f} (argmax {bouts_before:.3f}) and macro F1 {frames:.3f} ({frames_before:.3f}) on "
        "validation trials left out of the fit"
    )
    if not minus:
        return take_argmax(trials, parts, classes, said=f"viterbi gains nothing without a loss of macro F1: {told}")
    moves = -minus * fit_moves([trial.actions for trial in trials], num_classes=C)
    return Rule(offsets=np.zeros(C), moves=moves, said=f"viterbi: strength {-minus:g}; {told}")


RULES: dict[str, Callable[[Sequence[Trial], np.ndarray, Sequence[str]], Rule]] = {
    "argmax": take_argmax,
    "thresholds": fit_thresholds,
    "viterbi": fit_viterbi,
}


def split_parts(trials: Sequence[Trial]) -> np.ndarray:
    """(n,) the part of each trial, from 0: groups in turn, or trials where there is one group."""
    names = [trial.group for trial in trials]
    if len(set(names)) == 1:
        names = [trial.key for trial in trials]
    return np.unique(names, return_inverse=True)[1] % PARTS


def leave_out(trials: Sequence[Trial], parts: np.ndarray) -> list[tuple[int, list[Trial]]]:
    """Each part, with the trials of all others."""
    return [(part, [t for t, own in zip(trials, parts, strict=True) if own != part]) for part in range(parts.max() + 1)]


def measure(trials: Sequence[Trial], num_classes: int) -> tuple[float, float]:
    """Macro F1, segmental F1@50."""
    bouts = [segment_counts(t.actions, t.predicted, iou=SEGMENT_IOU, num_classes=num_classes) for t in trials]
    return float(macro_f1(count_confusion(trials, num_classes))), segment_f1(*np.sum(bouts, axis=0))
