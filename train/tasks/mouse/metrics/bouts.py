"""Bouts: a filter of those too short to be real, counts and lengths by class, and the nearest predicted bout of each true one.

T frames, C classes. A bout is a run of `segments.runs`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

from tarpon.train.tasks.mouse.metrics.segments import blank_unlabelled, find_runs, match_bouts, onset_errors, segment_counts
from tarpon.train.tasks.mouse.metrics.trial import Trial

FOUND_IOU = 0.3  # a true bout is found when a predicted one of its class overlaps it this much; the published system's measure


def merge_short(labels: np.ndarray, *, min_bout: int) -> np.ndarray:
    """Give bouts of fewer than `min_bout` frames to the longer of their two neighbours.

    The shortest bout goes first (of equals the earliest), to the longer neighbour (of equals the one before it; at an end
    the only one) and joins what then has its label beside it; so on until every bout is long enough or one is left.
    Only labels are looked at, so the answer does not depend on how a model is calibrated. O(T + N log N) for N bouts.

    Args:
        labels: (T,) integer classes >= 0.
        min_bout: frames; 1 changes nothing.

    Returns:
        (T,) int64, newly allocated.
    """
    labels = np.array(labels, np.int64)
    if labels.ndim != 1 or (labels < 0).any():
        raise ValueError(f"labels must be (T,) classes >= 0, got shape {labels.shape}; fill or cut unlabelled frames first")
    if min_bout < 1:
        raise ValueError(f"min_bout={min_bout} must be at least 1 frame (1: no filter)")
    start, stop, label = (part.tolist() for part in find_runs(labels))
    chain = _Chain(size=[end - begin for begin, end in zip(start, stop, strict=True)], label=label)
    short = [(size, n) for n, size in enumerate(chain.size) if size < min_bout]
    heapify(short)
    while short:
        size, n = heappop(short)
        if chain.size[n] != size:  # joined with another since it was put here
            continue
        n = chain.absorb(n)
        if n is not None and chain.size[n] < min_bout:
            heappush(short, (chain.size[n], n))
    kept = [n for n, size in enumerate(chain.size) if size]
    return np.repeat(np.array(chain.label, np.int64)[kept], np.array(chain.size, np.int64)[kept])


class _Chain:
    """Bouts side by side, each known by the number of its first part; a bout that was swallowed has size 0."""

    def __init__(self, *, size: list[int], label: list[int]) -> None:
        self.size, self.label = size, label
        self.before = [n - 1 for n in range(len(size))]
        self.after = [n + 1 for n in range(len(size))]

    def absorb(self, n: int) -> int | None:
        """Give bout n to a neighbour; the number of the bout it is now part of, None where it has no neighbour."""
        left, right = self.before[n], self.after[n]
        sides = [side for side in (left, right) if 0 <= side < len(self.size)]
        if not sides:
            return None
        self.label[n] = self.label[max(sides, key=lambda side: self.size[side])]  # max keeps the first of equals
        if right in sides and self.label[right] == self.label[n]:
            self._join(n, right)
        if left in sides and self.label[left] == self.label[n]:
            self._join(left, n)
            return left
        return n

    def _join(self, left: int, right: int) -> None:
        self.size[left] += self.size[right]
        self.size[right] = 0
        self.after[left] = beyond = self.after[right]
        if beyond < len(self.size):
            self.before[beyond] = left


@dataclass(frozen=True, kw_only=True)
class ClassBouts:
    """The bouts of one class over many trials; NaN where there is none."""

    true: int
    predicted: int
    found: int  # true bouts matched by a predicted one at FOUND_IOU
    frames_true: float  # median length
    frames_predicted: float  # median length
    onset_error: float  # median |predicted - true onset| of the found bouts whose onset was seen, frames


def class_bouts(trials: Sequence[Trial], *, num_classes: int) -> list[ClassBouts]:
    """Each of the C classes; bouts are those inside labelled frames, each trial by itself."""
    found = np.zeros(num_classes, np.int64)
    lengths, answers, errors = [], [], []  # of each trial (2, N): frames, class
    for trial in trials:
        true, pred = blank_unlabelled(trial.actions, trial.predicted)
        found += segment_counts(true, pred, iou=FOUND_IOU, num_classes=num_classes)[0]
        for parts, labels in ((lengths, true), (answers, pred)):
            start, stop, label = find_runs(labels)
            parts.append(np.stack([stop - start, label]))
        error, label = onset_errors(true, pred, iou=FOUND_IOU)
        errors.append(np.stack([np.abs(error), label]))
    length, answer, error = (np.concatenate([np.empty((2, 0)), *parts], axis=1) for parts in (lengths, answers, errors))
    return [
        ClassBouts(
            true=int((length[1] == c).sum()),
            predicted=int((answer[1] == c).sum()),
            found=int(found[c]),
            frames_true=_median(length[0, length[1] == c]),
            frames_predicted=_median(answer[0, answer[1] == c]),
            onset_error=_median(error[0, error[1] == c]),
        )
        for c in range(num_classes)
    ]


@dataclass(frozen=True, kw_only=True)
class NearestBout:
    """One true bout and the predicted bout of its class that comes closest; frames are inclusive and from the trial's start."""

    onset: int
    offset: int
    predicted: tuple[int, int] | None  # onset and offset; None where the class is predicted nowhere in the trial
    iou: float  # 0: they share no frame


def nearest_bouts(true: np.ndarray, pred: np.ndarray, *, label: int) -> list[NearestBout]:
    """The true bouts of a class in order: each with the predicted bout that it is paired with, or else the nearest onset.

    Args:
        true, pred: (T,) classes, -1 unlabelled.
    """
    true, pred = blank_unlabelled(true, pred)
    start, stop, of_true = find_runs(true)
    answer_start, answer_stop, of_pred = find_runs(pred)
    paired = {i: (j, iou) for i, j, iou in zip(*(part.tolist() for part in match_bouts(true, pred)), strict=True)}
    same = np.flatnonzero(of_pred == label)
    rows = []
    for i in np.flatnonzero(of_true == label).tolist():
        j, iou = paired.get(i, (None, 0.0))
        if j is None and len(same):
            j = int(same[np.abs(answer_start[same] - start[i]).argmin()])
            shared = min(stop[i], answer_stop[j]) - max(start[i], answer_start[j])
            whole = max(stop[i], answer_stop[j]) - min(start[i], answer_start[j])
            iou = max(0.0, float(shared / whole))  # over 0 where that bout is paired with another one
        predicted = None if j is None else (int(answer_start[j]), int(answer_stop[j]) - 1)
        rows.append(NearestBout(onset=int(start[i]), offset=int(stop[i]) - 1, predicted=predicted, iou=iou))
    return rows


def _median(frames: np.ndarray) -> float:
    return float(np.median(frames)) if len(frames) else float("nan")
