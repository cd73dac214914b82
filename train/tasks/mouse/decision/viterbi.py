"""The best sequence of classes (Viterbi 1967), with what changes of class cost counted in labelled trials.

B sequences of one length, T frames, C classes.
"""

from collections.abc import Sequence

import numpy as np


def fit_moves(labels: Sequence[np.ndarray], *, num_classes: int) -> np.ndarray:
    """What it costs to change from a class to another, rather than to stay: the log of how often, from labelled trials.

    Bouts of a class end with the same probability in each frame (their lengths are geometric): bouts seen to end, by frames
    with a labelled one after them, so a bout cut off by the trial's end or by an unlabelled frame counts for what it shows.
    Every class is given one ended bout more, of the mean length of all, and that one's next class is shared by all others. A
    class that is not labelled here is entered as if all changes were alike.

    Staying is free and not the log of its own probability, a little below 0: that would charge classes of short bouts, which
    are the rare ones, in every frame. On the synthetic lab it found fewer frames of paw_withdraw.

    Args:
        labels: (T,) of each trial, -1 unlabelled; pairs of frames with an unlabelled one are left out.

    Returns:
        (C, C) float64, row the frame before; 0 on the diagonal.
    """
    pairs = np.zeros((num_classes, num_classes))
    seen = np.zeros(num_classes, bool)
    for trial in labels:
        before, after = trial[:-1], trial[1:]
        both = (before >= 0) & (after >= 0)
        np.add.at(pairs, (before[both], after[both]), 1)
        seen[trial[trial >= 0]] = True
    changes = pairs * ~np.eye(num_classes, dtype=bool)
    ended, frames = changes.sum(1), pairs.sum(1)
    usual = max(frames.sum() / max(ended.sum(), 1), 2)  # frames of a bout
    end = (ended + 1) / (frames + usual)
    even = 1 / max(num_classes - 1, 1)
    target = (changes + even) / (ended + 1)[:, None]
    target[:, ~seen] = even
    moves = np.log(end[:, None] * target / (1 - end)[:, None])
    np.fill_diagonal(moves, 0)
    return moves


def find_best_paths(scores: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """The classes with the highest sum of scores and moves, for every sequence; ties go to the lower class, from the end on.

    Linear in frames, one step for all sequences: 108,000 frames of one recording and 6 classes take about a second.

    Args:
        scores: (B, T, C) float64 of each class in each frame; a frame of equal scores says nothing.
        moves: (B, C, C) or (1, C, C) float64 of a class (last axis) after another; where all are 0 the answer is argmax.

    Returns:
        (B, T) int64.
    """
    B, T, C = scores.shape
    best, back = scores[:, 0], np.zeros((T, B, C), np.int16)
    into = np.ascontiguousarray(moves.swapaxes(1, 2))  # (B, C to, C from)
    for t in range(1, T):
        through = best[:, None] + into
        back[t] = through.argmax(2)
        best = through.max(2) + scores[:, t]
    labels, every = np.empty((B, T), np.int64), np.arange(B)
    labels[:, -1] = best.argmax(1)
    for t in range(T - 1, 0, -1):
        labels[:, t - 1] = back[t, every, labels[:, t]]
    return labels


def find_paths(scores: Sequence[np.ndarray], moves: Sequence[np.ndarray]) -> list[np.ndarray]:
    """`find_best_paths` of sequences (T, C) of any lengths, each with its own moves (C, C); those of one length together."""
    by_length: dict[int, list[int]] = {}
    for number, own in enumerate(scores):
        by_length.setdefault(len(own), []).append(number)
    found: dict[int, np.ndarray] = {}
    for numbers in by_length.values():
        paths = find_best_paths(np.stack([scores[n] for n in numbers]), np.stack([moves[n] for n in numbers]))
        found |= dict(zip(numbers, paths, strict=True))
    return [found[number] for number in range(len(scores))]
