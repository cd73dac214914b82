"""The epoch plan: the order rows are read in, a pure function of (rows, seed, epoch), cut lazily into micro-batches.

Every rank computes the same order and takes its slice of each step: no communication is needed, the samples of a step do not
depend on the number of GPUs, and resuming is skipping. Memory is O(window): the rows of a few shards at a time.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

ORDER, CHOICE = 1, 2  # streams of the plan's generator; draws.py has its own keys


@dataclass(frozen=True, kw_only=True, eq=False)
class Slots:
    """The rows of one rank's micro-batch, with their slots."""

    epoch: int
    rows: np.ndarray  # (B,) int64 row ids; -1 pads a last evaluation batch
    slots: np.ndarray  # (B,) int64 position in the epoch: the key of each sample's draw


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochPlan:
    """Every row once an epoch in a shuffled order, or as often as its weight says.

    Args:
        rows: (N,) int64 row ids to read.
        shards: (N,) shard number of each row, non-decreasing.
        weights: (N,) float64 > 0, or None for equal; a row comes weight / mean(weight) times an epoch,
            rounded up or down (systematic resampling), so that an epoch always has N slots.
        window: shards shuffled together; larger mixes better, smaller reads more sequentially.
    """

    rows: np.ndarray
    shards: np.ndarray
    seed: int
    weights: np.ndarray | None = None
    window: int = 8

    def steps(self, global_batch: int) -> int:
        """Optimizer steps an epoch; ValueError when the rows cannot fill one."""
        return count_steps(len(self.rows), global_batch)

    def order(self, epoch: int) -> Iterator[np.ndarray]:
        """Row ids of one epoch, a window of shards at a time."""
        first = np.flatnonzero(np.diff(self.shards, prepend=-1, append=-2))  # of each shard, and the end
        rng = np.random.default_rng((self.seed, epoch, ORDER))
        sequence = rng.permutation(len(first) - 1)
        offset = np.random.default_rng((self.seed, epoch, CHOICE)).random()
        mean = 1.0 if self.weights is None else float(np.mean(self.weights))
        before = 0.0  # cumulated weight up to this window
        for i in range(0, len(sequence), self.window):
            members = np.concatenate([np.arange(first[s], first[s + 1]) for s in sequence[i : i + self.window]])
            members = rng.permutation(members)
            if self.weights is not None:
                upto = np.minimum(before + np.cumsum(self.weights[members] / mean), len(self.rows))
                last = i + self.window >= len(sequence)
                if last:
                    upto[-1] = len(self.rows)  # the sum is N up to rounding; N slots are promised
                marks = np.floor(np.concatenate([[before], upto]) + offset).astype(np.int64)
                members = rng.permutation(np.repeat(members, np.diff(marks)))
                before = float(upto[-1])
            yield self.rows[members]

    def batches(
        self, epoch: int, *, micro: int, accumulation: int = 1, rank: int, world: int, skip: int = 0
    ) -> Iterator[Slots]:
        """One rank's micro-batches of an epoch, after the first `skip` of them.

        All ranks get the same number. Rows beyond the last full step are left out, a different few each epoch.
        """
        whole = micro * world
        count = self.steps(whole * accumulation) * accumulation
        parts = itertools.islice(rebatch(self.order(epoch), whole), min(skip, count), count)
        yield from slice_rank(parts, epoch=epoch, begin=skip, rank=rank, world=world)

    def stream(self, epoch: int, *, skip: int, micro: int, accumulation: int, rank: int, world: int) -> Iterator[Slots]:
        """One rank's micro-batches from epoch `epoch` on, without end, after the first `skip` of that epoch."""
        cut = partial(self.batches, micro=micro, accumulation=accumulation, rank=rank, world=world)
        return repeat_epochs(cut, epoch=epoch, skip=skip)


# Common to all plans: cut the order into micro-steps, slice them by rank, continue with the next epoch.


def count_steps(rows: int, global_batch: int) -> int:
    """Optimizer steps of an epoch of so many rows; ValueError where they cannot fill one."""
    if rows < global_batch:
        raise ValueError(
            f"{rows} training rows cannot fill one step of global_batch={global_batch}; lower global_batch or pack more data"
        )
    return rows // global_batch


def rebatch(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The rows of the chunks in arrays of `size`; an incomplete last one is dropped."""
    held = np.empty(0, np.int64)
    for chunk in chunks:
        held = np.concatenate([held, chunk])
        while len(held) >= size:
            yield held[:size]
            held = held[size:]


def slice_rank(parts: Iterable[np.ndarray], *, epoch: int, begin: int, rank: int, world: int) -> Iterator[Slots]:
    """One rank's contiguous slice of each global micro-step.

    Args:
        parts: (world * micro,) int64 rows of all ranks' micro-batches, one array a micro-step.
        begin: number of the first one in its epoch.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank={rank} must be in [0, {world})")
    for number, rows in enumerate(parts, start=begin):
        place = number * len(rows) + np.arange(len(rows))
        yield Slots(epoch=epoch, rows=rows.reshape(world, -1)[rank], slots=place.reshape(world, -1)[rank])


def repeat_epochs(batches: Callable[..., Iterator[Slots]], *, epoch: int, skip: int) -> Iterator[Slots]:
    """batches(epoch, skip=skip), then all batches of each later epoch, endlessly."""
    yield from batches(epoch, skip=skip)
    for number in itertools.count(epoch + 1):
        yield from batches(number, skip=0)


def cut_stretches(count: int, *, world: int, begins: Callable[[int], bool] = lambda index: True) -> list[int]:
    """Where each rank's stretch of the indices 0..count-1 begins, and `count`: near equal, one after another.

    Args:
        begins: whether an index is the first of its unit (trial): a stretch begins there alone, so that no unit is cut.
    """
    cuts = [0]
    for rank in range(1, world):
        cut = max(cuts[-1], round(rank * count / world))
        while cut < count and not begins(cut):
            cut += 1
        cuts.append(cut)
    return [*cuts, count]


def stretch_batches(cuts: Sequence[int], *, micro: int, rank: int) -> Iterator[np.ndarray]:
    """Indices of one rank's stretch of `cut_stretches` in order, in micro-batches of equal number on all; the last are padded
    with -1."""
    first, end = cuts[rank], cuts[rank + 1]
    padded = np.full((-(-int(np.diff(cuts).max()) // micro), micro), -1, np.int64)
    padded.ravel()[: end - first] = np.arange(first, end)
    yield from padded


def sequential_batches(count: int, *, micro: int) -> Iterator[np.ndarray]:
    """Indices 0..count-1 in order, in micro-batches; the last is padded with -1."""
    return stretch_batches([0, count], micro=micro, rank=0)


# Windows of a sequence, and the boost of those that hold rare classes.


def weight_rare_classes(histogram: np.ndarray, *, threshold_share: float, cap: float) -> np.ndarray:
    """Weight of each class's frames: threshold / share for a class rarer than the threshold, at most cap; else 1.

    Args:
        histogram: (C,) labelled frames of each class. A class that never occurs keeps 1.

    Returns:
        (C,) float64 >= 1.
    """
    share = histogram / max(histogram.sum(), 1)
    rare = (share > 0) & (share < threshold_share)
    return np.where(rare, np.minimum(threshold_share / np.where(share > 0, share, 1), cap), 1.0)


def weight_windows(labels: np.ndarray, factors: np.ndarray, *, length: int) -> np.ndarray:
    """Weight of every window of a sequence, or of each of N sequences of one length: the mean factor of its frames.

    Args:
        labels: (T,) or (N, T) classes, -1 unlabelled (factor 1).
        factors: (C,) from `weight_rare_classes`.

    Returns:
        (S,) or (N, S) float64, one for each of S = max(T - length, 0) + 1 window starts.
    """
    frame = np.where(labels >= 0, factors[np.maximum(labels, 0)], 1.0)
    total = np.concatenate([np.zeros_like(frame[..., :1]), np.cumsum(frame, axis=-1)], axis=-1)
    span = min(length, labels.shape[-1])
    return (total[..., span:] - total[..., :-span]) / span


def choose_start(weights: np.ndarray, u: float) -> int:
    """The window start at quantile u in [0, 1) of the weights."""
    upto = np.cumsum(weights)
    return min(int(np.searchsorted(upto, u * upto[-1], side="right")), len(weights) - 1)


def count_expected_frames(labels: np.ndarray, weights: np.ndarray, *, length: int, classes: int) -> np.ndarray:
    """Expected labelled frames of each class in one window drawn by `weights`, (C,) or of each of N sequences (N, C) float64.

    Args:
        labels: (T,) or (N, T). weights: as of `weight_windows`.
    """
    frames, starts = labels.shape[-1], weights.shape[-1]
    chance = weights / weights.sum(axis=-1, keepdims=True)
    # a frame is seen when a start within the span before it is drawn
    upto = np.concatenate([np.zeros_like(chance[..., :1]), np.cumsum(chance, axis=-1)], axis=-1)
    t = np.arange(frames)
    seen = upto[..., np.minimum(t + 1, starts)] - upto[..., np.clip(t + 1 - min(length, frames), 0, starts)]
    sequences = labels.reshape(-1, frames)
    place = np.arange(len(sequences))[:, None] * classes + sequences  # of a class in its own sequence's row
    known = sequences >= 0
    counted = np.bincount(place[known], weights=seen.reshape(sequences.shape)[known], minlength=len(sequences) * classes)
    return counted.reshape(*labels.shape[:-1], classes)
