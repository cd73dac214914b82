"""Deck: small identities share cells as packed by hand; a pass deals every cell once."""

import numpy as np

from tarpon.shards.sampling.pk_sampler import FREE, Deck


def deck(sizes: list[int]) -> Deck:
    return Deck(np.arange(sum(sizes)), np.repeat(np.arange(len(sizes)), sizes), seed=0, instances=4)


def test_packing_by_hand():
    """3 takes the 1 to itself, the other 3 stays alone, 2 and 2 fill one: three cells beside the two of the five."""
    of = deck([3, 2, 5, 1, 3, 2])
    assert (of.shared, len(of)) == (3, 5)
    cells, owner = of.cells(np.random.default_rng(0))
    assert owner.tolist() == [2, 2, 6, 7, 8]
    held = [sorted(of.who[cell[cell != FREE]].tolist()) for cell in cells]
    assert held[:2] == [[2] * 4] * 2
    assert held[2] in ([0, 0, 0, 3], [3, 4, 4, 4])
    assert held[3] in ([0, 0, 0], [4, 4, 4])
    assert held[4] == [1, 1, 5, 5]


def test_small_identities_change_places():
    """Which of two identities of three images gets the single one beside it differs from draw to draw."""
    of, rng = deck([3, 3, 1]), np.random.default_rng(0)
    partners = {tuple(sorted(set(of.who[of.cells(rng)[0][0]].tolist()))) for _ in range(20)}
    assert partners == {(0, 2), (1, 2)}


def test_a_pass_deals_every_cell_once():
    of = deck([9, 1, 4, 4, 30, 3, 2, 2, 6])
    heights = np.resize([2, 3], len(of))
    dealt = np.concatenate(list(of.deal(heights, epoch=1)))[: len(of)]
    rows = np.unique(dealt[dealt != FREE])
    np.testing.assert_array_equal(rows, np.arange(61))
    assert dealt.shape == (len(of), 4)


def test_filling_repeats_nothing_and_prefers_the_absent():
    of = deck([3, 4, 4, 4])
    for batch in range(20):
        at = of.filled(np.array([[0, 1, 2, FREE], [3, 4, 5, 6]]), epoch=0, batch=batch)
        assert at[:7].tolist() == list(range(7))
        assert len(at) == 8
        assert of.who[at[7]] in (2, 3)
    # all are present, and one row twice: what is left of any of them
    at = of.filled(np.array([[0, 1, 2, FREE], [3, 4, 5, 6], [7, 8, 9, 10], [11, 12, 12, 13]]), epoch=0, batch=0)[:15]
    assert sorted(at) == list(range(15))
