"""P x K plans: full batches, no image twice, every row covered, whatever the sizes; mixes exact to half a group."""

import itertools
from collections import Counter

import numpy as np
import pytest

from tarpon.shards.sampling.pk_plan import IdentityPlan, MixedPlan

K = 4
SIZES = {
    "even": [8] * 12,
    "odd": [7] * 15,
    "heavy tail": [1, 1, 1, 2, 2, 3, 3, 3, 3, 4, 5, 5, 6, 9, 10, 11, 17, 23, 30],
    "small": [1, 2, 3] * 9,
    "threes": [3] * 20,
    "single": [1] * 40,
    "one dominates": [40] + [5] * 8,
    "one dominates singles": [30] + [1] * 30,
    "few": [40, 41, 42],
    "one": [50],
    "just enough": [3, 5, 8],
}


def plan(sizes: list[int], *, first_row: int = 0, seed: int = 3) -> IdentityPlan:
    """Rows of the identities in mixed order; labels and row ids with gaps."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)) * 5 - 7, sizes))
    return IdentityPlan(rows=first_row + np.arange(len(labels)) * 2, identities=labels, seed=seed, instances=K)


def epoch_of(of: IdentityPlan | MixedPlan, whole: int = 16, epoch: int = 0, **more: int) -> np.ndarray:
    """(batches, whole) rows."""
    return np.array([slots.rows for slots in of.batches(epoch, micro=whole, rank=0, world=1, **more)])


def names(of: IdentityPlan, rows: np.ndarray) -> np.ndarray:
    return of.identities[np.searchsorted(of.rows, rows)]


def is_together(labels: np.ndarray) -> bool:
    return len(list(itertools.groupby(labels))) == len(set(labels.tolist()))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_batches_are_full_distinct_and_cover_the_rows(sizes):
    of = plan(sizes)
    for whole, epoch in itertools.product((4, 8, 16), (0, 1, 2)):
        batches = epoch_of(of, whole, epoch)
        assert batches.shape == (of.steps(whole), whole)
        np.testing.assert_array_equal(np.unique(batches), of.rows)
        for rows in batches:
            assert len(set(rows)) == whole
            assert is_together(names(of, rows))


@pytest.mark.parametrize("case", ["even", "odd", "heavy tail", "small", "threes", "single", "one dominates singles"])
def test_an_identity_comes_no_oftener_than_it_must(case):
    """Once in a batch, or ceil(its groups / batches) times; by no more than K images each time."""
    of = plan(SIZES[case])
    for epoch in range(5):
        batches = epoch_of(of, 16, epoch)
        for rows in batches:
            for name, count in Counter(names(of, rows).tolist()).items():
                groups = -(-int(np.sum(of.identities == name)) // K)
                assert count <= K * -(-groups // len(batches))


def test_groups_are_whole_where_the_images_allow_it():
    """Every identity of K images or more comes with K; one with fewer comes once with all, apart from what fills places."""
    of = plan([3, 2, 6, 9, 4, 4, 13, 5, 7, 6])
    for epoch in range(5):
        met = [Counter(names(of, rows).tolist()) for rows in epoch_of(of, 16, epoch)]
        for name, total in Counter(of.identities.tolist()).items():
            counts = [batch[name] for batch in met if name in batch]
            assert counts.count(min(total, K)) >= max(total // K, 1)
        # 3 and 2 images share no cell of 4: three places are free, for one further identity each
        assert sum(count < K for batch in met for count in batch.values()) <= 4


def test_by_hand_two_identities_of_four():
    """K 2, P 2: two batches, each with two images of either, every image once."""
    of = IdentityPlan(rows=np.arange(10, 18), identities=np.repeat([5, 9], 4), seed=0, instances=2)
    for epoch in range(8):
        batches = epoch_of(of, 4, epoch)
        assert of.steps(4) == len(batches) == 2
        assert sorted(batches.ravel()) == list(range(10, 18))
        assert all(sorted(names(of, rows)) == [5, 5, 9, 9] for rows in batches)


def test_by_hand_a_last_group_is_topped_up_with_its_own():
    """5 images in groups of 4: the fifth comes with three of the others."""
    of = IdentityPlan(rows=np.arange(13), identities=np.repeat([0, 1], [5, 8]), seed=0, instances=4)
    for epoch in range(8):
        batches = epoch_of(of, 8, epoch)
        assert all(sorted(names(of, rows)) == [0] * 4 + [1] * 4 for rows in batches)
        counts = Counter(batches.ravel().tolist())
        assert sorted(counts[row] for row in range(5)) == [1, 1, 2, 2, 2]
        assert all(counts[row] == 1 for row in range(5, 13))


def test_by_hand_free_places_go_to_others():
    """3, 4 and 4 images, P 2: beside the three and a group of four stands one image of the third identity."""
    of = IdentityPlan(rows=np.arange(11), identities=np.repeat([0, 1, 2], [3, 4, 4]), seed=0, instances=4)
    assert of.steps(8) == 2
    for epoch in range(8):
        counts = [sorted(Counter(names(of, rows).tolist()).items()) for rows in epoch_of(of, 8, epoch)]
        with_three = [count for count in counts if (0, 3) in count]
        assert with_three
        assert all(sorted(n for _, n in count) == [1, 3, 4] for count in with_three)


def test_by_hand_singles_share_their_batch():
    """Eight identities of one image, K 4: one batch of eight, nothing twice, nothing added."""
    of = IdentityPlan(rows=np.arange(8), identities=np.arange(8), seed=0, instances=4)
    assert of.steps(8) == 1
    assert sorted(epoch_of(of, 8)[0]) == list(range(8))


def test_a_dominating_identity_is_spread_evenly():
    """Half of all rows: in every batch, with about half of the places, never with all of them."""
    of = plan([400] + [10] * 40)
    for epoch in range(3):
        batches = epoch_of(of, 32, epoch)
        shares = np.array([np.sum(names(of, rows) == -7) for rows in batches]) / 32
        assert shares.min() >= 0.25
        assert shares.max() <= 0.5
        others = [count for rows in batches for name, count in Counter(names(of, rows).tolist()).items() if name != -7]
        assert max(others) == K


def test_order_is_a_function_of_seed_and_epoch():
    sizes = SIZES["heavy tail"]
    np.testing.assert_array_equal(epoch_of(plan(sizes)), epoch_of(plan(sizes)))
    assert not np.array_equal(epoch_of(plan(sizes)), epoch_of(plan(sizes), epoch=1))
    assert not np.array_equal(epoch_of(plan(sizes)), epoch_of(plan(sizes, seed=4)))


def test_partners_change_from_epoch_to_epoch():
    """Any two of twelve identities meet in some batch of a few epochs."""
    of, met = plan([8] * 12), set()
    for epoch in range(30):
        for rows in epoch_of(of, 8, epoch):
            met.add(tuple(sorted(set(names(of, rows).tolist()))))
    assert len(met) == 12 * 11 // 2


def mixed(**options: object) -> MixedPlan:
    second = plan([7, 4, 11, 5, 3, 9, 6], first_row=10_001)
    return MixedPlan(**{"first": plan([9, 3, 1, 12, 30, 8, 2] * 6), "second": second, "share": 0.3, **options})


PLANS = {
    "identities": lambda: plan(SIZES["heavy tail"]),
    "mixed": mixed,
    "alternate": lambda: mixed(alternate=True),
    # the second set's last pass, half of it one identity, is far from its end when the epoch ends
    "unfinished pass": lambda: mixed(second=plan([240, 40, 40, 40, 40, 40, 40], first_row=10_001), share=0.4),
}


@pytest.mark.parametrize("make", PLANS.values(), ids=PLANS)
def test_neither_world_nor_accumulation_changes_a_micro_step(make):
    of, steps = make(), {}
    for world, micro, accumulation in [(1, 16, 1), (2, 8, 1), (8, 2, 1), (1, 16, 2), (4, 4, 2), (2, 8, 3), (1, 16, 7)]:
        ranks = [list(of.batches(2, micro=micro, accumulation=accumulation, rank=r, world=world)) for r in range(world)]
        count = of.steps(16 * accumulation) * accumulation
        assert {len(rank) for rank in ranks} == {count}
        both = np.array([[[slots.rows, slots.slots] for slots in rank] for rank in ranks])  # world, micro-steps, 2, micro
        steps[world, accumulation] = both.transpose(1, 2, 0, 3).reshape(count, 2, 16)  # ranks' slices side by side
    np.testing.assert_array_equal(steps[1, 1][:, 1], np.arange(len(steps[1, 1]) * 16).reshape(-1, 16))
    for other in steps.values():
        alike = min(len(steps[1, 1]), len(other))  # a step of more micro-steps may need more of them
        np.testing.assert_array_equal(other[:alike], steps[1, 1][:alike])


@pytest.mark.parametrize("make", PLANS.values(), ids=PLANS)
def test_resuming_equals_not_stopping(make):
    cut = {"micro": 4, "accumulation": 2, "rank": 1, "world": 4}
    of = make()
    length = len(list(of.batches(0, **cut)))
    whole = list(itertools.islice(of.stream(0, skip=0, **cut), 3 * length))
    for begin in (1, length - 1, length, length + 3, 2 * length + 1):
        epoch, skip = divmod(begin, length)
        rest = itertools.islice(of.stream(epoch, skip=skip, **cut), 3 * length - begin)
        for one, two in zip(rest, whole[begin:], strict=True):
            assert one.epoch == two.epoch
            np.testing.assert_array_equal(one.rows, two.rows)
            np.testing.assert_array_equal(one.slots, two.slots)
    assert list(of.batches(0, skip=length + 5, **cut)) == []


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.77, 0.97])
def test_the_share_is_met_and_both_sets_are_covered(share):
    of = mixed(share=share)
    batches = epoch_of(of, 32)
    second = batches >= 10_001
    upto = np.cumsum(second.sum(1))
    np.testing.assert_allclose(upto, share * 32 * np.arange(1, len(batches) + 1), atol=K / 2 + 1e-9)
    assert np.ptp(second.sum(1)) in (0, K)
    for half, rows in ((of.first, batches[~second]), (of.second, batches[second])):
        np.testing.assert_array_equal(np.unique(rows), half.rows)
    for rows, star in zip(batches, second, strict=True):
        assert len(set(rows)) == 32
        who = np.concatenate([names(of.first, rows[~star]), 1000 + names(of.second, rows[star])])
        assert is_together(who[np.argsort(np.concatenate([np.flatnonzero(~star), np.flatnonzero(star)]))])
    # no longer than it takes: a step fewer would not reach one of the sets' last cells
    places = (len(batches) - 1) * 32 / K
    assert len(of.first.sampler) > places * (1 - share) - 1 or len(of.second.sampler) > places * share - 1


def test_tenths_differ():
    stars = [np.mean(epoch_of(mixed(share=share), 32) >= 10_001) for share in (0.1, 0.2, 0.3, 0.4)]
    np.testing.assert_allclose(stars, [0.1, 0.2, 0.3, 0.4], atol=0.01)


def test_the_smaller_set_goes_round_evenly_each_pass_in_another_order():
    """Identities of whole groups: every row comes as often as any other, but for the pass that the epoch ends in."""
    of = MixedPlan(first=plan([8] * 60), second=plan([8] * 6, first_row=10_001), share=0.25)
    batches = epoch_of(of, 32)
    stars = batches[batches >= 10_001]  # in reading order, two identities a batch
    assert len(stars) == 160
    passes = [stars[begin : begin + 48] for begin in range(0, 144, 48)]
    for rows in passes:
        assert sorted(rows) == of.second.rows.tolist()
    assert not np.array_equal(passes[0], passes[1])
    assert not np.array_equal(passes[1], passes[2])


def test_no_identity_twice_where_two_passes_meet():
    """Five groups of different identities, two a batch: every fifth cell begins a new pass."""
    of = MixedPlan(first=plan([4] * 60), second=plan([4] * 5, first_row=10_001), share=0.25)
    for epoch in range(20):
        for rows in epoch_of(of, 32, epoch):
            assert set(Counter(names(of.second, rows[rows >= 10_001]).tolist()).values()) == {K}


def test_ranks_get_of_both_sets():
    """The order of identities in a batch is mixed: no rank is left with one set for good."""
    of = MixedPlan(first=plan([8] * 60), second=plan([8] * 60, first_row=10_001), share=0.5)
    first = np.concatenate([slots.rows for slots in of.batches(0, micro=8, rank=0, world=4)])
    assert 0.25 < np.mean(first >= 10_001) < 0.75


def test_alternate_batches_are_whole():
    of = mixed(alternate=True)
    batches = epoch_of(of, 16)
    assert len(batches) % 2 == 0
    np.testing.assert_array_equal((batches >= 10_001).sum(1), [0, 16] * (len(batches) // 2))
    np.testing.assert_array_equal(np.unique(batches[::2]), of.first.rows)
    np.testing.assert_array_equal(np.unique(batches[1::2]), of.second.rows)


def test_random_sizes_keep_the_rules():
    rng = np.random.default_rng(0)
    for trial in range(40):
        sizes = np.maximum(1, rng.lognormal(1.2, 1, rng.integers(3, 40)).astype(int)).tolist()
        whole = 4 * int(rng.integers(1, max(2, sum(sizes) // 4)))
        of = plan(sizes, seed=trial)
        if whole > sum(sizes):
            continue
        batches = epoch_of(of, whole, trial)
        np.testing.assert_array_equal(np.unique(batches), of.rows)
        assert all(len(set(rows)) == whole and is_together(names(of, rows)) for rows in batches)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="16 places for a set of 15 images"):
        epoch_of(plan([8, 7]), 16)
    with pytest.raises(ValueError, match="12 places for a set of 8 images"):
        epoch_of(MixedPlan(first=plan([9] * 9), second=plan([8], first_row=10_001), share=0.6), 16)
    with pytest.raises(ValueError, match="a batch of 10 rows over all GPUs must be a multiple of the 4 instances"):
        plan([20]).steps(10)
    with pytest.raises(ValueError, match="a batch of 6 rows"):
        next(plan([20]).batches(0, micro=3, accumulation=2, rank=0, world=2))
    with pytest.raises(ValueError, match="rank=2"):
        next(plan([20]).batches(0, micro=4, rank=2, world=2))
    with pytest.raises(ValueError, match="row id comes twice"):
        IdentityPlan(rows=np.array([1, 1]), identities=np.array([0, 1]), seed=0)
    with pytest.raises(ValueError, match="2 rows and 1 identities"):
        IdentityPlan(rows=np.array([1, 2]), identities=np.array([0]), seed=0)
    with pytest.raises(ValueError, match="instances=0"):
        IdentityPlan(rows=np.arange(2), identities=np.arange(2), seed=0, instances=0)


def test_mistakes_of_a_mix_are_told():
    one, two = plan([9] * 4), plan([9] * 4, first_row=10_001)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            MixedPlan(first=one, second=two, share=share)
    with pytest.raises(ValueError, match="row 0 is in both sets"):
        MixedPlan(first=one, second=plan([3]), share=0.5)
    with pytest.raises(ValueError, match="4 and 2 instances"):
        MixedPlan(first=one, second=IdentityPlan(rows=two.rows, identities=two.identities, seed=0, instances=2), share=0.5)
