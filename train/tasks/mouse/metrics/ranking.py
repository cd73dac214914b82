"""How well the probability of each class ranks the labelled frames, whatever the threshold.

N labelled frames of all trials, C classes. The curves and their area are scikit-learn's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve

from tarpon.train.metrics.confusion import ratio


class FrameAnswers(Protocol):
    """Frames with their answers: a `Trial`, or `LabelledFrames` of many."""

    actions: np.ndarray  # (T,) whole numbers, -1 unlabelled
    probs: np.ndarray  # (T, C) float32


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledFrames:
    """The labelled frames of many trials, end to end: all that can be ranked, at 4 C + 2 bytes a frame."""

    actions: np.ndarray  # (N,) int16
    probs: np.ndarray  # (N, C) float32


def take_labelled(trials: Sequence[FrameAnswers], num_classes: int) -> LabelledFrames:
    """What other processes need of some trials to rank the frames of all; of no trials no frames."""
    nothing = LabelledFrames(actions=np.empty(0, np.int16), probs=np.empty((0, num_classes), np.float32))
    actions, probs = collect_labelled([nothing, *trials])
    return LabelledFrames(actions=actions.astype(np.int16), probs=probs)


def collect_labelled(trials: Sequence[FrameAnswers]) -> tuple[np.ndarray, np.ndarray]:
    """((N,) class, whole numbers, (N, C) float32 probabilities) of the labelled frames, trial after trial."""
    known = [trial.actions >= 0 for trial in trials]
    actions = np.concatenate([trial.actions[seen] for trial, seen in zip(trials, known, strict=True)])
    return actions, np.concatenate([trial.probs[seen] for trial, seen in zip(trials, known, strict=True)])


def precision_recall(trials: Sequence[FrameAnswers]) -> list[np.ndarray | None]:
    """For each class (n, 2) float64 recall and precision, from recall 1 down to 0; None for a class without true frames."""
    actions, probs = collect_labelled(trials)
    curves: list[np.ndarray | None] = []
    for c in range(probs.shape[1]):
        if (actions == c).any():
            precision, recall, _ = precision_recall_curve(actions == c, probs[:, c], drop_intermediate=True)
            curves.append(np.stack([recall, precision], 1))
        else:
            curves.append(None)
    return curves


def average_precision(trials: Sequence[FrameAnswers], num_classes: int) -> np.ndarray:
    """(C,) each class against the rest; NaN for one without true frames. A blind guess scores the class's share of frames."""
    actions, probs = collect_labelled(trials)
    present = np.bincount(actions, minlength=num_classes) > 0
    return np.array([average_precision_score(actions == c, probs[:, c]) if present[c] else np.nan for c in range(num_classes)])


def ranking_scores(trials: Sequence[FrameAnswers], *, names: Sequence[str]) -> dict[str, float]:
    """average_precision_<class> and average_precision, their mean over the classes with true frames; NaN where undefined."""
    each = average_precision(trials, len(names))
    mean = float(ratio(np.nansum(each), np.isfinite(each).sum()))
    return {"average_precision": mean} | {f"average_precision_{name}": float(v) for name, v in zip(names, each, strict=True)}


def one_vs_rest(trials: Sequence[FrameAnswers], *, names: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """pr_<class> -> ((N,) bool is of the class, (N,) float32 its probability), without the classes that have no true frames."""
    actions, probs = collect_labelled(trials)
    return {f"pr_{name}": (actions == c, probs[:, c]) for c, name in enumerate(names) if (actions == c).any()}
