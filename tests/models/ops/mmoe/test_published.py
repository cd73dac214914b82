"""The mixture of one module an expert gives what the batched one gives."""

import pytest
import torch

from tarpon.models.ops.mmoe.mixture import MMOE, mmoe_reference
from tarpon.models.ops.mmoe.published import LoopedMixture, make_looped_baseline


def test_values_and_gradients_equal_the_batched_reference():
    shape = (7, 12, 9, 3, 2)
    given = MMOE.inputs(shape, dtype=torch.float64, device="cpu", seed=0) | {"dropout": 0.0, "seed": None}
    given["x"] = given["x"].detach().double().requires_grad_()
    rival = make_looped_baseline(given)
    outputs = rival.function(**rival.arguments)
    for got, want in zip(outputs, mmoe_reference(**given), strict=True):
        torch.testing.assert_close(got, want)
    got = dict(zip(["x", *(name for name, _ in rival.function.named_parameters())],
                   torch.autograd.grad(outputs[0].square().sum(), rival.leaves), strict=True))  # fmt: skip
    names = ("x", "in_weight", "out_weight", "expert_scale", "gate_weight")
    want = torch.autograd.grad(mmoe_reference(**given)[0].square().sum(), [given[name] for name in names])
    torch.testing.assert_close(got["x"], want[0])
    for part, expected in (("experts.{}.1.weight", want[1]), ("experts.{}.4.weight", want[2]), ("gates.{}.1.weight", want[4])):
        torch.testing.assert_close(torch.stack([got[part.format(i)].T for i in range(len(expected))]), expected)
    torch.testing.assert_close(torch.stack([got[f"experts.{i}.0.weight"] for i in range(3)]), want[3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_is_timed_with_dropout_in_the_weights_dtype(dtype):
    rival = make_looped_baseline(MMOE.inputs((7, 12, 9, 3, 2), dtype=dtype, device="cpu", seed=0))
    assert isinstance(rival.function, LoopedMixture)
    first, second = (rival.function(**rival.arguments)[0] for _ in range(2))
    assert first.dtype == dtype
    assert first.shape == (7, 2, 9)
    assert not torch.equal(first, second)
    assert len(rival.leaves) == 1 + len(list(rival.function.parameters()))
