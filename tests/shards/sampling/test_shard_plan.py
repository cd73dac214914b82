"""The plan over shards: each row once an epoch, the same step however it is reached, by any number of processes."""

import numpy as np
import pytest

from tarpon.shards.sampling.shard_plan import ShardPlan

SIZES = np.array([3, 0, 11, 5, 7, 0, 1, 13, 9, 4, 6, 8, 2])  # rows in each shard; some have none of the split


class Shards:
    """Rows and weights of made-up shards, counting what is read."""

    def __init__(self, sizes: np.ndarray = SIZES, *, weighted: bool = False) -> None:
        self.sizes, self.firsts, self.read = sizes, np.cumsum(sizes) - sizes, []
        rng = np.random.default_rng(1)
        self.weights = [rng.random(size) * 5 + 0.1 for size in sizes] if weighted else None

    def rows_of(self, shard: int) -> np.ndarray:
        self.read.append(shard)
        return 100 + self.firsts[shard] + np.arange(self.sizes[shard])

    def plan(self, *, seed: int = 3, window: int = 3) -> ShardPlan:
        of_weight = {}
        if self.weights is not None:
            of_weight = {"totals": np.array([w.sum() for w in self.weights]), "weights_of": self.weights.__getitem__}
        return ShardPlan(counts=self.sizes, rows_of=self.rows_of, seed=seed, window=window, **of_weight)


def order(plan: ShardPlan, epoch: int = 0) -> np.ndarray:
    return np.concatenate(list(plan.order(epoch)))


def test_every_row_comes_once_an_epoch():
    plan = Shards().plan()
    for epoch in range(5):
        np.testing.assert_array_equal(np.sort(order(plan, epoch)), 100 + np.arange(SIZES.sum()))
    assert not np.array_equal(order(plan, 0), order(plan, 1))
    assert not np.array_equal(order(plan), order(Shards().plan(seed=4)))
    np.testing.assert_array_equal(order(plan), order(Shards().plan()))


def test_windows_mix_only_their_own_shards():
    shards = Shards()
    of_row = np.repeat(np.arange(len(SIZES)), SIZES)
    chunks = list(shards.plan().order(0))
    assert len(chunks) == -(-np.count_nonzero(SIZES) // 3)
    assert all(len(set(of_row[chunk - 100])) <= 3 for chunk in chunks)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_number_of_processes_does_not_change_a_step_and_none_shares_a_slot(weighted):
    plan, steps = Shards(weighted=weighted).plan(), {}
    for world, micro, accumulation in [(1, 8, 1), (1, 2, 4), (2, 2, 2), (4, 2, 1), (8, 1, 1)]:
        ranks = [list(plan.batches(2, micro=micro, accumulation=accumulation, rank=rank, world=world)) for rank in range(world)]
        assert len({len(rank) for rank in ranks}) == 1
        both = np.array([[(slots.rows, slots.slots) for slots in rank] for rank in ranks])  # world, micro-batches, 2, micro
        both = both.transpose(1, 0, 3, 2).reshape(plan.steps(8), 8, 2)
        assert len(np.unique(both[..., 1])) == both[..., 1].size
        steps[world, accumulation] = both
    for other in steps.values():
        np.testing.assert_array_equal(other, steps[1, 1])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("window", [1, 3, 100])
def test_a_step_is_the_same_directly_and_by_going_through_all_before(weighted, window):
    plan = Shards(weighted=weighted).plan(window=window)
    whole = list(plan.batches(1, micro=2, accumulation=2, rank=1, world=2))
    assert len(whole) == SIZES.sum() // 8 * 2
    for skip in (*range(len(whole) + 1), 1000):
        rest = list(plan.batches(1, micro=2, accumulation=2, rank=1, world=2, skip=skip))
        assert len(rest) == len(whole[skip:])
        for one, two in zip(rest, whole[skip:], strict=True):
            np.testing.assert_array_equal(one.rows, two.rows)
            np.testing.assert_array_equal(one.slots, two.slots)


def test_a_step_reads_the_shards_of_its_window_alone():
    shards = Shards(np.full(1000, 50))
    slots = next(shards.plan(window=8).batches(0, micro=4, rank=3, world=8, skip=900))
    assert len(slots.rows) == 4
    assert len(shards.read) <= 16  # of its window, and of the next where a step lies in two


@pytest.mark.parametrize("seed", range(5))
def test_a_row_comes_as_often_as_its_weight_says_rounded_up_or_down(seed):
    shards = Shards(weighted=True)
    weights = np.concatenate(shards.weights)
    found = np.bincount(order(shards.plan(seed=seed)) - 100, minlength=len(weights))
    assert found.sum() == len(weights)
    expected = weights / weights.mean()
    assert (np.abs(found - expected) < 1 + 1e-9).all()


def test_over_epochs_the_counts_are_the_weights():
    shards = Shards(weighted=True)
    weights, plan = np.concatenate(shards.weights), shards.plan()
    found = sum(np.bincount(order(plan, epoch) - 100, minlength=len(weights)) for epoch in range(400)) / 400
    np.testing.assert_allclose(found, weights / weights.mean(), atol=0.12)  # 5 standard errors of a mean of 400 roundings


def test_equal_weights_are_no_weights():
    sizes = np.array([5, 7, 3])
    plan = ShardPlan(
        counts=sizes,
        rows_of=Shards(sizes).rows_of,
        seed=0,
        totals=sizes * 0.3,
        weights_of=lambda shard: np.full(sizes[shard], 0.3),
    )
    np.testing.assert_array_equal(np.sort(order(plan)), 100 + np.arange(15))


def test_a_stream_goes_on_with_the_next_epoch():
    plan = Shards().plan()
    stream = plan.stream(4, skip=plan.steps(8) - 1, micro=8, accumulation=1, rank=0, world=1)
    assert [next(stream).epoch for _ in range(3)] == [4, 5, 5]


def test_too_few_rows_and_half_of_the_weights_are_refused():
    with pytest.raises(ValueError, match="69 training rows cannot fill one step of global_batch=70"):
        Shards().plan().steps(70)
    with pytest.raises(ValueError, match="belong together"):
        ShardPlan(counts=SIZES, rows_of=Shards().rows_of, seed=0, totals=SIZES * 1.0)
