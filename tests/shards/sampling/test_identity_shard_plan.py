"""P x K over shards: whole batches of distinct images, each image in every epoch, whoever reads them and from wherever."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tarpon.shards.sampling.identity_index import FREE, IdentityIndex
from tarpon.shards.sampling.identity_shard_plan import IdentityShardPlan
from tarpon.shards.sampling.mix import Mix

K = 4


class Animals:
    """A made-up set: the identity and shard of every row, and which shards are read."""

    def __init__(self, identity: np.ndarray, shard: np.ndarray, *, first: int = 0) -> None:
        self.identity, self.shard, self.rows, self.read = identity, shard, first + np.arange(len(identity)), []

    def members(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        self.read.append(shard)
        own = np.flatnonzero(self.shard == shard)
        own = own[np.argsort(self.identity[own], kind="stable")]
        return self.identity[own], self.rows[own]

    def index(self) -> IdentityIndex:
        pairs, images = np.unique(np.stack([self.identity, self.shard]), axis=1, return_counts=True)
        return IdentityIndex(
            identity=pairs[0],
            shard=pairs[1],
            images=images,
            shards=int(self.shard.max()) + 1,
            members=self.members,
            instances=K,
        )


def in_a_row(sizes: np.ndarray, *, shard_rows: int = 40, first: int = 0) -> Animals:
    """Identity after identity, cut into shards wherever one is full."""
    identity = np.repeat(np.arange(len(sizes)), sizes)
    return Animals(identity, np.arange(len(identity)) // shard_rows, first=first)


def scattered(sizes: np.ndarray) -> Animals:
    """The images of every identity in any shard."""
    rng = np.random.default_rng(5)
    return Animals(rng.permutation(np.repeat(np.arange(len(sizes)), sizes)), np.arange(sizes.sum()) // 40)


SIZES = np.random.default_rng(2).integers(1, 14, 150)
SETS = {"in a row": in_a_row(SIZES), "scattered": scattered(SIZES), "one shard": in_a_row(SIZES[:12], shard_rows=1000)}


def plan_of(animals: Animals, *, seed: int = 3) -> IdentityShardPlan:
    return IdentityShardPlan(sets=(animals.index(),), seed=seed)


def rows_of(plan: IdentityShardPlan, epoch: int = 0, *, micro: int = 16, **how) -> np.ndarray:
    return np.array([slots.rows for slots in plan.batches(epoch, micro=micro, **{"rank": 0, "world": 1} | how)])


@pytest.mark.parametrize("name", SETS)
def test_every_image_comes_in_an_epoch_and_none_twice_in_a_batch(name):
    animals = SETS[name]
    plan = plan_of(animals)
    for epoch in range(3):
        batches = rows_of(plan, epoch)
        assert len(batches) == plan.steps(16)
        assert set(batches.ravel().tolist()) == set(animals.rows.tolist())
        assert all(len(set(batch)) == 16 for batch in batches.tolist())
    assert not np.array_equal(rows_of(plan, 0), rows_of(plan, 1))
    assert not np.array_equal(rows_of(plan, 0), rows_of(plan_of(animals, seed=4), 0))
    np.testing.assert_array_equal(rows_of(plan_of(animals), 2), rows_of(plan, 2))


@pytest.mark.parametrize("name", SETS)
def test_images_of_an_identity_are_adjacent_and_come_k_at_a_time(name):
    animals, whole = SETS[name], Counter()
    sizes = np.bincount(animals.identity)
    for batch in animals.identity[rows_of(plan_of(animals))]:
        changes = 1 + sum(one != two for one, two in pairwise(batch.tolist()))
        assert changes == len(set(batch.tolist()))
        whole.update((min(int(sizes[identity]), K), times) for identity, times in Counter(batch.tolist()).items())
    for (due, times), number in whole.items():
        assert times >= due or number < 0.1 * whole.total(), f"{number} times {times} images of an identity with {due}"
    full = sum(number for (due, times), number in whole.items() if times >= due)
    assert full >= 0.9 * whole.total()  # what fills a few positions may be fewer than K


def test_an_identity_with_few_bins_comes_once_in_a_batch():
    animals = SETS["in a row"]
    often = [max(Counter(batch.tolist()).values()) for batch in animals.identity[rows_of(plan_of(animals))]]
    assert np.mean(np.array(often) <= K) > 0.9


def test_bins_by_hand():
    """K = 4: 5 images fill 2 bins; 2 and 2 share one, 3 has one, 1, 1 and 1 share one; in the next shard 4 fill one."""
    animals = Animals(np.repeat(np.arange(8), [5, 2, 2, 3, 1, 1, 1, 4]), np.repeat([0, 1], [15, 4]))
    units = animals.index().units
    assert units.bins.tolist() == [5, 1]
    bins = units.draw_bins(units.of_shards(np.array([0])), np.random.default_rng(0))
    assert bins.shape == (5, K)
    assert sorted(set(bins[bins != FREE].tolist())) == list(range(15))
    held = sorted(sorted(animals.identity[row[row != FREE]].tolist()) for row in bins)
    assert held == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 2, 2], [3, 3, 3], [4, 5, 6]]


def test_an_identity_with_very_many_images_is_shown_in_stretches():
    animals = in_a_row(np.array([3000, 10, 10, 10]), shard_rows=300)
    units = animals.index().units
    assert units.images.tolist() == [1000, 1000, 1000, 10, 10, 10]
    assert units.home.tolist() == [0, 3, 6, 10, 10, 10]
    assert set(rows_of(plan_of(animals)).ravel().tolist()) == set(range(3030))


@pytest.mark.parametrize("name", SETS)
def test_the_number_of_processes_and_the_accumulation_change_no_micro_step(name):
    animals = SETS[name]
    whole = rows_of(plan_of(animals))
    for world in (2, 4):
        ranks = [rows_of(plan_of(animals), micro=16 // world, rank=rank, world=world) for rank in range(world)]
        np.testing.assert_array_equal(np.concatenate(ranks, 1), whole)
    longer = rows_of(plan_of(animals), accumulation=3)
    assert len(longer) == 3 * plan_of(animals).steps(48) >= len(whole)
    np.testing.assert_array_equal(longer[: len(whole)], whole)


@pytest.mark.parametrize("name", SETS)
def test_resuming_is_skipping(name):
    plan = plan_of(SETS[name])
    whole = rows_of(plan, 1)
    for skip in (*range(0, len(whole), 5), len(whole)):
        np.testing.assert_array_equal(rows_of(plan, 1, skip=skip), whole[skip:] if skip < len(whole) else np.zeros(0))
    stream = plan.stream(1, skip=len(whole) - 1, micro=16, accumulation=1, rank=0, world=1)
    assert [next(stream).epoch for _ in range(3)] == [1, 2, 2]


def test_a_step_reads_the_shards_of_its_window_alone():
    animals = in_a_row(np.full(4000, 10), shard_rows=100)
    plan = plan_of(animals)
    next(plan.batches(0, micro=4, rank=1, world=4, skip=1500))
    assert 1 <= len(animals.read) <= 3  # one identity of a rank, where a shard ends two
    animals.read.clear()
    rows_of(plan, skip=plan.steps(16) - 100)
    assert len(set(animals.read)) <= 16 + 2


@pytest.mark.parametrize("alternate", [False, True])
def test_two_sets_share_the_batches(alternate):
    few, many = in_a_row(np.full(20, 8)), in_a_row(SIZES, first=1000)
    sets, mix = (many.index(), few.index()), Mix(share=0.25, alternate=alternate)
    plan = IdentityShardPlan(sets=sets, seed=1, mix=mix, offsets=(0, 5000))
    batches = rows_of(plan)
    assert len(batches) == plan.steps(16)
    second = (batches >= 5000).sum(1)
    assert set(second.tolist()) == ({0, 16} if alternate else {4})
    if alternate:
        assert second[:4].tolist() == [0, 16, 0, 16]
    assert set(batches.ravel().tolist()) == set(many.rows.tolist()) | set((few.rows + 5000).tolist())
    assert all(len(set(batch)) == 16 for batch in batches.tolist())
    for skip in (1, 7):
        np.testing.assert_array_equal(rows_of(plan, skip=skip), batches[skip:])


def test_what_makes_no_batch_is_refused():
    plan = plan_of(SETS["one shard"])
    with pytest.raises(ValueError, match="must be a multiple of the 4 instances"):
        plan.steps(18)
    with pytest.raises(ValueError, match="no image may come twice in it; lower micro_batch"):
        rows_of(plan_of(in_a_row(np.array([5, 5]))), micro=12)
    with pytest.raises(ValueError, match="have 4 and 2 instances"):
        IdentityShardPlan(sets=(plan.sets[0], replace(plan.sets[0], instances=2)), seed=0, mix=Mix(), offsets=(0, 1000))
    with pytest.raises(ValueError, match="do not belong together"):
        IdentityShardPlan(sets=plan.sets * 2, seed=0, offsets=(0, 1000))
    with pytest.raises(ValueError, match="no images to train on"):
        replace(plan.sets[0], identity=np.zeros(0, int))
