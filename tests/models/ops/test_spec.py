"""Every fused operation's record: what it says holds for what it makes."""

from dataclasses import replace

import pytest
import torch

from tarpon.models.ops import OPS
from tarpon.models.ops.spec import TOLERANCE, discrepancy


@pytest.mark.parametrize("name", OPS)
def test_record_and_inputs_agree(name):
    spec = OPS[name]
    assert spec.name == name
    for shape in (*spec.defaults, *spec.small_shapes):
        for backward in (False, True):  # some values are float32 in any case
            wide, narrow = (spec.moved_bytes(shape, dtype, backward=backward) for dtype in (torch.float32, torch.bfloat16))
            assert 2 * narrow >= wide > narrow > 0
        assert spec.operations(shape, backward=True) > spec.operations(shape) > 0
    shape = spec.small_shapes[-1]
    for dtype in TOLERANCE:
        one, two = (spec.inputs(shape, dtype=dtype, device="cpu", seed=3) for _ in range(2))
        tensors = [key for key, value in one.items() if isinstance(value, torch.Tensor)]
        assert all(torch.equal(one[key], two[key]) for key in tensors)
        assert any(one[key].requires_grad for key in tensors)
    other = spec.inputs(shape, dtype=torch.float32, device="cpu", seed=4)
    assert not all(torch.equal(one[key], other[key]) for key in tensors)


@pytest.mark.parametrize("name", OPS)
def test_the_reference_is_itself_right_in_float32(name):
    """What is compared with must be nearer to float64 than what is compared."""
    spec = OPS[name]
    given = spec.inputs(spec.small_shapes[-1], dtype=torch.float32, device="cpu", seed=3)
    exact = {
        key: value.double() if torch.is_tensor(value) and value.is_floating_point() else value for key, value in given.items()
    }
    got, want = spec.reference(**given), spec.reference(**exact)
    pairs = zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]
    assert all(discrepancy(one, two) < TOLERANCE[torch.float32] for one, two in pairs)


def test_discrepancy():
    want = torch.tensor([3.0, 0.0, -4.0, 0.0])  # root mean square 2.5
    assert discrepancy(want, want) == 0
    assert discrepancy(want + torch.tensor([0.0, 0.5, 0.0, 0.0]), want) == pytest.approx(0.2)
    assert discrepancy(want + torch.tensor([0.0, 0.0, 0.65, 0.0]), want) == pytest.approx(0.1)
    assert discrepancy(want * float("nan"), want) == float("inf")
    assert discrepancy(torch.tensor([1e-9]), torch.zeros(1)) == float("inf")
    with pytest.raises(ValueError, match="differ"):
        discrepancy(want[:1], want)


def test_mistakes_are_explained():
    spec = next(iter(OPS.values()))
    with pytest.raises(ValueError, match="some of its shapes"):
        replace(spec, defaults=(tuple(size + 1 for size in max(spec.shapes)),))
    with pytest.raises(ValueError, match="each of"):
        replace(spec, small_shapes=((1,),))
