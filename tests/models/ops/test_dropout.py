"""The hash that dropout is made of: shares, repetition, independence, and its values against whole numbers of any size."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tarpon.models.ops.dropout import SEEDS, compute_threshold, draw_seed, hash_dropout, keep_mask

SEED = torch.tensor(1234567890123456789)


def by_hand(row: int, column: int, seed: int) -> int:
    """The hash of one element as a signed 32-bit number, in Python's own whole numbers."""

    def mix(x: int) -> int:
        x = (x ^ x >> 16) * 0x7FEB352D % 2**32
        return (x ^ x >> 15) * 0x846CA68B % 2**32

    key = mix(mix(row ^ seed % 2**31) ^ seed >> 31)
    value = mix(key ^ column * 0x9E3779B9 % 2**32)
    return value - 2**32 * (value >= 2**31)


@pytest.mark.parametrize("seed", [0, 1, 2**31, SEEDS - 1, int(SEED)])
def test_equals_the_hash_by_hand(seed):
    mask = keep_mask((50, 70), share=0.4, seed=torch.tensor(seed))
    expected = [[by_hand(row, column, seed) >= compute_threshold(0.4) for column in range(70)] for row in range(50)]
    assert mask.tolist() == expected


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_share(share):
    mask = keep_mask((1000, 257), share=share, seed=SEED).double()
    spread = (share * (1 - share)) ** 0.5
    assert abs(mask.mean() - 1 + share) <= 4 * spread / mask.numel() ** 0.5
    for means, count in ((mask.mean(0), 1000), (mask.mean(1), 257)):
        assert (means - 1 + share).abs().max() <= 5 * spread / count**0.5


@pytest.mark.parametrize("move", [(0, 1), (1, 0), (1, 1), (16, 0), (0, 16), (0, 128)])
def test_neighbours_and_seeds_are_independent(move):
    mask = keep_mask((1024, 256), share=0.5, seed=SEED).double() - 0.5
    other = keep_mask((1024, 256), share=0.5, seed=SEED + move[0] + 2**31 * move[1]).double() - 0.5
    bound = 4 * 0.25 / mask.numel() ** 0.5
    assert (mask * mask.roll(move, (0, 1))).mean().abs() <= bound
    assert (mask * other).mean().abs() <= bound


def test_rows_are_all_axes_but_the_last_and_chunks_do_not_show():
    x = torch.ones(3, 400, 128)
    out = hash_dropout(x, 0.25, SEED)
    assert torch.equal(out, keep_mask((1200, 128), share=0.25, seed=SEED).view(x.shape) / 0.75)
    assert torch.equal(out[:1], hash_dropout(x[:1], 0.25, SEED))
    assert hash_dropout(x, 0.0, None) is x
    assert hash_dropout(x[:0], 0.5, SEED).shape == (0, 400, 128)


def test_gradient_is_the_mask():
    x = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: hash_dropout(v, 0.4, SEED), (x,))


def test_seeds_come_from_torchs_generator():
    torch.manual_seed(3)
    one, two = draw_seed(), draw_seed()
    torch.manual_seed(3)
    assert one == draw_seed() != two
    assert 0 <= one < SEEDS


def test_one_pass_on_a_device_that_is_not_a_cpu():
    """Counted on tensors without values: as many operations as a pass has, however many elements."""
    with Counter() as small:
        keep_mask((10, 512), share=0.3, seed=SEED, device="meta")
    with Counter() as large:
        assert keep_mask((100_000, 512), share=0.3, seed=SEED, device="meta").shape == (100_000, 512)
    assert small.calls == large.calls > 0
    with Counter() as chunked:
        keep_mask((1_000, 512), share=0.3, seed=SEED)
    assert chunked.calls > 2 * small.calls  # 8 chunks


def test_without_a_seed_it_is_torchs_own():
    x = torch.ones(50, 70)
    torch.manual_seed(4)
    want = F.dropout(x, 0.3)
    torch.manual_seed(4)
    assert torch.equal(hash_dropout(x, 0.3, None), want)


class Counter(TorchDispatchMode):
    """Operations that were dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))
