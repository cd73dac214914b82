"""PKSampler: small identities share bins as packed by hand; a pass draws every bin once."""

import numpy as np

from tarpon.shards.sampling.pk_sampler import FREE, PKSampler


def make_sampler(sizes: list[int]) -> PKSampler:
    return PKSampler(np.arange(sum(sizes)), np.repeat(np.arange(len(sizes)), sizes), seed=0, instances=4)


def test_packing_by_hand():
    """3 takes the 1 to itself, the other 3 stays alone, 2 and 2 fill one: three bins beside the two of the five."""
    of = make_sampler([3, 2, 5, 1, 3, 2])
    assert (of.shared_bins, len(of)) == (3, 5)
    bins, owner = of.draw_bins(np.random.default_rng(0))
    assert owner.tolist() == [2, 2, 6, 7, 8]
    held = [sorted(of.identity[bin_rows[bin_rows != FREE]].tolist()) for bin_rows in bins]
    assert held[:2] == [[2] * 4] * 2
    assert held[2] in ([0, 0, 0, 3], [3, 4, 4, 4])
    assert held[3] in ([0, 0, 0], [4, 4, 4])
    assert held[4] == [1, 1, 5, 5]


def test_small_identities_change_partners():
    """Which of two identities of three images gets the single one beside it differs from draw to draw."""
    of, rng = make_sampler([3, 3, 1]), np.random.default_rng(0)
    partners = {tuple(sorted(set(of.identity[of.draw_bins(rng)[0][0]].tolist()))) for _ in range(20)}
    assert partners == {(0, 2), (1, 2)}


def test_a_pass_draws_every_bin_once():
    of = make_sampler([9, 1, 4, 4, 30, 3, 2, 2, 6])
    bins_per_batch = np.resize([2, 3], len(of))
    drawn = np.concatenate(list(of.iterate_bins(bins_per_batch, epoch=1)))[: len(of)]
    rows = np.unique(drawn[drawn != FREE])
    np.testing.assert_array_equal(rows, np.arange(61))
    assert drawn.shape == (len(of), 4)


def test_filling_repeats_nothing_and_prefers_the_absent():
    of = make_sampler([3, 4, 4, 4])
    for batch in range(20):
        index = of.fill_bins(np.array([[0, 1, 2, FREE], [3, 4, 5, 6]]), epoch=0, batch=batch)
        assert index[:7].tolist() == list(range(7))
        assert len(index) == 8
        assert of.identity[index[7]] in (2, 3)
    # all are present, and one row twice: what is left of any of them
    index = of.fill_bins(np.array([[0, 1, 2, FREE], [3, 4, 5, 6], [7, 8, 9, 10], [11, 12, 12, 13]]), epoch=0, batch=0)[:15]
    assert sorted(index) == list(range(15))
