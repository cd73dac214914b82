"""Plan: a pure, world-free, lazy order; windows weighted as computed by hand and by brute force."""

import tracemalloc

import numpy as np
import pytest

from tarpon.shards.sampling.plan import (
    EpochPlan,
    choose_start,
    count_expected_frames,
    cut_stretches,
    sequential_batches,
    stretch_batches,
    weight_rare_classes,
    weight_windows,
)


def plan(count: int = 103, *, shards: int = 9, seed: int = 3, weights: np.ndarray | None = None, window: int = 2) -> EpochPlan:
    rng = np.random.default_rng(0)
    return EpochPlan(
        rows=np.arange(count) * 2 + 5, shards=np.sort(rng.integers(0, shards, count)), seed=seed, weights=weights, window=window
    )


def order(of: EpochPlan, epoch: int = 0) -> np.ndarray:
    return np.concatenate(list(of.order(epoch)))


def test_order_is_a_function_of_seed_and_epoch():
    np.testing.assert_array_equal(order(plan()), order(plan()))
    assert not np.array_equal(order(plan()), order(plan(), 1))
    assert not np.array_equal(order(plan()), order(plan(seed=4)))


def test_every_row_comes_once_without_weights():
    for epoch in range(3):
        np.testing.assert_array_equal(np.sort(order(plan(), epoch)), plan().rows)


def test_windows_mix_only_their_own_shards():
    of = plan(window=2)
    shard_of = dict(zip(of.rows.tolist(), of.shards.tolist(), strict=True))
    for chunk in of.order(0):
        assert len({shard_of[row] for row in chunk.tolist()}) <= 2


@pytest.mark.parametrize("weights", [None, "given"])
def test_world_size_does_not_change_a_global_batch(weights):
    of = plan(weights=np.random.default_rng(1).random(103) + 0.1 if weights else None)
    steps = {}
    for world, micro, accumulation in [(1, 8, 1), (1, 2, 4), (2, 2, 2), (4, 2, 1), (8, 1, 1)]:
        ranks = [list(of.batches(2, micro=micro, accumulation=accumulation, rank=rank, world=world)) for rank in range(world)]
        assert len({len(rank) for rank in ranks}) == 1
        rows = np.array([[slots.rows for slots in rank] for rank in ranks])  # world, micro-batches, micro
        slots = np.array([[slots.slots for slots in rank] for rank in ranks])
        count = of.steps(8)
        both = np.stack([rows, slots], -1).reshape(world, count, accumulation, micro, 2).transpose(1, 2, 0, 3, 4)
        steps[world, accumulation] = both.reshape(count, 8, 2)
    first = steps[1, 1]
    assert first.shape[0] == 103 // 8
    for other in steps.values():
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("skip", [0, 1, 5, 24, 1000])
def test_skipping_is_a_slice(skip):
    whole = list(plan().batches(1, micro=2, accumulation=2, rank=1, world=2))
    rest = list(plan().batches(1, micro=2, accumulation=2, rank=1, world=2, skip=skip))
    assert len(rest) == len(whole[skip:])
    for one, two in zip(rest, whole[skip:], strict=True):
        np.testing.assert_array_equal(one.rows, two.rows)
        np.testing.assert_array_equal(one.slots, two.slots)


def test_slots_count_the_epoch_and_the_left_out_rows_change():
    slots = np.concatenate([part.slots for part in plan().batches(0, micro=10, rank=0, world=1)])
    np.testing.assert_array_equal(slots, np.arange(100))
    left = [
        set(plan().rows) - set(np.concatenate([p.rows for p in plan().batches(e, micro=10, rank=0, world=1)])) for e in (0, 1)
    ]
    assert len(left[0]) == len(left[1]) == 3
    assert left[0] != left[1]


def test_weights_by_hand():
    """Weights 1, 1, 2, 4 have mean 2: half a time, half a time, once, twice."""
    of = EpochPlan(
        rows=np.array([10, 11, 12, 13]), shards=np.array([0, 0, 1, 2]), seed=0, weights=np.array([1.0, 1, 2, 4]), window=1
    )
    counts = np.array([[np.sum(order(of, epoch) == row) for row in of.rows] for epoch in range(400)])
    assert (counts.sum(1) == 4).all()
    assert (counts[:, 2] == 1).all()
    assert (counts[:, 3] == 2).all()
    assert set(counts[:, 0]) == {0, 1}
    assert counts[:, 0].mean() == pytest.approx(0.5, abs=0.1)


def test_weighted_counts_are_rounded_up_or_down():
    weights = np.random.default_rng(5).gamma(0.5, 1, 500) + 1e-6
    of = plan(500, shards=40, weights=weights, window=3)
    expected = weights / weights.mean()
    total = np.zeros(500)
    for epoch in range(60):
        rows = order(of, epoch)
        assert len(rows) == 500
        counts = np.bincount((rows - 5) // 2, minlength=500)
        assert (counts >= np.floor(expected - 1e-9)).all()
        assert (counts <= np.ceil(expected + 1e-9)).all()
        total += counts
    np.testing.assert_allclose(total / 60, expected, atol=0.35)


def test_a_vanishing_last_weight_does_not_break_the_count():
    weights = np.array([1 / 3] * 300 + [1e-18] * 3)
    of = EpochPlan(rows=np.arange(303), shards=np.zeros(303, int), seed=0, weights=weights)
    assert all(len(order(of, epoch)) == 303 for epoch in range(30))


def test_memory_is_a_windows():
    count = 400_000
    of = EpochPlan(rows=np.arange(count), shards=np.arange(count) // 1000, seed=0)
    batches = of.batches(0, micro=8, rank=0, world=1)
    next(batches)
    tracemalloc.start()
    for _ in range(3000):
        next(batches)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # 8 shards of 1000 rows of 8 bytes, a few times; the epoch alone would be 3.2 MB


def test_too_few_rows_and_a_wrong_rank_are_told():
    with pytest.raises(ValueError, match="3 training rows cannot fill one step of global_batch=4"):
        plan(3).steps(4)
    with pytest.raises(ValueError, match="rank=2"):
        next(plan().batches(0, micro=1, rank=2, world=2))


def test_in_order_the_last_batch_is_padded():
    np.testing.assert_array_equal(list(sequential_batches(7, micro=2)), [[0, 1], [2, 3], [4, 5], [6, -1]])
    assert list(sequential_batches(0, micro=2)) == []


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("micro", [1, 4])
def test_stretches_hold_whole_trials_in_order_and_are_padded_alike(world, micro):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        trial = np.repeat(np.arange(9), rng.integers(1, 6, 9))  # of each window
        cuts = cut_stretches(len(trial), world=world, begins=lambda i, t=trial: i == 0 or t[i] != t[i - 1])
        ranks = [np.array(list(stretch_batches(cuts, micro=micro, rank=rank))) for rank in range(world)]
        assert len({batches.shape for batches in ranks}) == 1
        held = [batches[batches >= 0] for batches in ranks]
        np.testing.assert_array_equal(np.concatenate(held), np.arange(len(trial)))
        assert len(np.unique(trial)) == sum(len(np.unique(trial[own])) for own in held)
        longest = max(map(len, held))
        assert longest <= len(trial) / world + 6  # a stretch ends at most a trial late
        assert ranks[0].shape == (-(-longest // micro), micro)


def test_stretches_of_rows_alone_are_as_even_as_can_be():
    assert cut_stretches(7, world=2) == [0, 4, 7]
    assert cut_stretches(2, world=4) == [0, 0, 1, 2, 2]
    cuts = cut_stretches(7, world=2)
    assert [list(map(list, stretch_batches(cuts, micro=2, rank=rank))) for rank in range(2)] == [
        [[0, 1], [2, 3]],
        [[4, 5], [6, -1]],
    ]
    assert list(stretch_batches(cut_stretches(0, world=2), micro=2, rank=1)) == []


def test_rare_factors_by_hand():
    """Shares .9, .08, .02, 0 under a threshold of .1: 1, 1.25, 5 (capped at 4), and 1 for what never occurs."""
    np.testing.assert_allclose(weight_rare_classes(np.array([90, 8, 2, 0]), threshold_share=0.1, cap=30), [1, 1.25, 5, 1])
    np.testing.assert_allclose(weight_rare_classes(np.array([90, 8, 2, 0]), threshold_share=0.1, cap=4), [1, 1.25, 4, 1])
    np.testing.assert_array_equal(weight_rare_classes(np.zeros(3), threshold_share=0.1, cap=4), np.ones(3))


def test_window_weights_by_hand():
    weights = weight_windows(np.array([0, 1, -1, 1]), np.array([1.0, 3.0]), length=2)
    np.testing.assert_allclose(weights, [2, 2, 2])
    np.testing.assert_allclose(weight_windows(np.array([0, 0, 1]), np.array([1.0, 4.0]), length=9), [2])


@pytest.mark.parametrize(("frames", "length"), [(50, 7), (50, 50), (20, 33), (5, 1)])
def test_windows_against_brute_force(frames, length):
    rng = np.random.default_rng(frames)
    labels, factors = rng.integers(-1, 4, frames), rng.random(4) * 5 + 1
    starts = range(max(frames - length, 0) + 1)
    mine = weight_windows(labels, factors, length=length)
    theirs = [np.mean([factors[a] if a >= 0 else 1 for a in labels[s : s + length]]) for s in starts]
    np.testing.assert_allclose(mine, theirs)
    seen = np.zeros(4)
    for start, weight in zip(starts, theirs, strict=True):
        for label in labels[start : start + length]:
            if label >= 0:
                seen[label] += weight / sum(theirs)
    np.testing.assert_allclose(count_expected_frames(labels, mine, length=length, classes=4), seen)


def test_choose_start_follows_the_weights():
    weights = np.array([1.0, 0, 3])
    chosen = [choose_start(weights, u) for u in (0, 0.2499, 0.25, 0.9999999)]
    assert chosen == [0, 0, 2, 2]


@pytest.mark.parametrize("length", [1, 7, 30, 99])
def test_many_sequences_at_once_are_weighed_as_one_by_one_bit_for_bit(length):
    """A weight that differed in its last bit could change the order of an epoch, and a resumed run with it."""
    rng = np.random.default_rng(5)
    labels, factors = rng.integers(-1, 4, (50, 31)), np.array([1.0, 2.3, 7.1, 1.7])
    together = weight_windows(labels, factors, length=length)
    one_by_one = np.stack([weight_windows(row, factors, length=length) for row in labels])
    assert np.array_equal(together, one_by_one)
    assert np.array_equal(together.mean(axis=-1), [row.mean() for row in one_by_one])
    seen = count_expected_frames(labels, together, length=length, classes=4)
    each = [count_expected_frames(row, own, length=length, classes=4) for row, own in zip(labels, one_by_one, strict=True)]
    assert np.array_equal(seen, np.stack(each))
