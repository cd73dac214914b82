"""Family and order chosen together: by hand, and against all pairs."""

import numpy as np
import torch

from tarpon.train.tasks.fish.joint_taxa import choose_together


def test_the_pair_of_the_highest_product_is_chosen():
    """Families 0, 1 of order 0 and 2 of order 1: .4 x .2 and .3 x .2 against .3 x .8."""
    family, order = torch.tensor([[0.4, 0.3, 0.3]]).log(), torch.tensor([[0.2, 0.8]]).log()
    joint, named = choose_together(family, order, np.array([0, 0, 1]))
    torch.testing.assert_close(joint.exp(), torch.tensor([[0.08, 0.06, 0.24]]))
    assert named.tolist() == [1]


def test_a_family_of_no_known_order_takes_the_likeliest():
    family, order = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.3, 0.7]]).log()
    joint, named = choose_together(family, order, np.array([-1, 0]))
    torch.testing.assert_close(joint.exp(), torch.tensor([[0.63, 0.03]]))
    assert named.tolist() == [1]


def test_orders_are_those_of_the_families_and_no_pair_is_likelier():
    made = torch.Generator().manual_seed(0)
    family, order = torch.randn(50, 7, generator=made), torch.randn(50, 3, generator=made)
    belongs = np.array([0, 1, 2, 0, 1, 2, 2])
    joint, named = choose_together(family.bfloat16(), order.bfloat16(), belongs)
    assert named.tolist() == belongs[joint.argmax(1)].tolist()
    both = family.bfloat16().double().softmax(1)[:, :, None] * order.bfloat16().double().softmax(1)[:, None]
    of_pairs = both[:, torch.arange(7), belongs]
    torch.testing.assert_close(joint.exp().double(), of_pairs, rtol=1e-5, atol=1e-7)
