"""Every fused operation's record: what it says holds for what it makes."""

from dataclasses import replace

import pytest
import torch

from tarpon.models.ops import OPS
from tarpon.models.ops.compare import measure_deviations
from tarpon.models.ops.spec import DTYPES, measure_discrepancy, tolerance


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
    for dtype in DTYPES:
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
    limit = tolerance(torch.float32, spec.reduction(spec.small_shapes[-1]))
    assert all(measure_discrepancy(one, two) < limit for one, two in pairs)


def test_discrepancy():
    want = torch.tensor([3.0, 0.0, -4.0, 0.0])  # root mean square 2.5
    assert measure_discrepancy(want, want) == 0
    assert measure_discrepancy(want + torch.tensor([0.0, 0.5, 0.0, 0.0]), want) == pytest.approx(0.2)
    assert measure_discrepancy(want + torch.tensor([0.0, 0.0, 0.65, 0.0]), want) == pytest.approx(0.1)
    assert measure_discrepancy(want * float("nan"), want) == float("inf")
    assert measure_discrepancy(torch.tensor([1e-9]), torch.zeros(1)) == float("inf")
    with pytest.raises(ValueError, match="differ"):
        measure_discrepancy(want[:1], want)


def test_tolerance_grows_with_the_square_root_of_a_sum():
    first, second, third = (tolerance(torch.float32, length) for length in (100, 400, 900))
    assert second - first == pytest.approx(third - second)
    assert 1e-4 < tolerance(torch.float32, 28_800) < 2e-4
    assert 0.03 < tolerance(torch.bfloat16, 28_800) < 0.064
    for dtype, length in ((torch.float64, 1), (torch.float32, 0)):
        with pytest.raises(ValueError, match="must be float32"):
            tolerance(dtype, length)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows", [360, 28_800])
def test_a_wrong_product_does_not_pass(rows, dtype):
    """A weight gradient over all rows: right within the tolerance, but not without 64 of them, nor with shifted rows."""
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(rows, 256, generator=draw).to(dtype) for _ in range(2))
    exact, limit = left.double().T @ right.double(), tolerance(dtype, rows)
    assert measure_discrepancy((left.float().T @ right.float()).to(dtype), exact) <= limit
    assert measure_discrepancy((left[:-64].float().T @ right[:-64].float()).to(dtype), exact) > limit
    assert measure_discrepancy((left[1:].float().T @ right[:-1].float()).to(dtype), exact) > limit


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["temporal_block", "mmoe"])
def test_a_wrong_operation_does_not_pass(name, dtype):
    """A row that is its neighbour's, a seed that is not the given one: the comparison finds each."""
    spec = OPS[name]
    shape = (2, 180, 48, 32) if name == "temporal_block" else (40, 48, 64, 3, 2)
    given = spec.inputs(shape, dtype=dtype, device="cpu", seed=3)
    limit = tolerance(dtype, spec.reduction(shape))

    def passes(*, seed: torch.Tensor = given["seed"], shift: bool = False) -> bool:
        def function(**inputs):
            out = spec.reference(**inputs | {"seed": seed})
            first, *rest = out if isinstance(out, tuple) else (out,)
            if shift:
                rows = first.flatten(0, -2)
                first = torch.cat([rows[1:2], rows[1:]]).view_as(first)
            return first, *rest

        return all(one.ok for one in measure_deviations(function, spec.reference, given, limit=limit))

    assert passes()
    assert not passes(seed=given["seed"] + 1)
    assert not passes(shift=True)


def test_mistakes_are_explained():
    spec = next(iter(OPS.values()))
    with pytest.raises(ValueError, match="some of its shapes"):
        replace(spec, defaults=(tuple(size + 1 for size in max(spec.shapes)),))
    with pytest.raises(ValueError, match="each of"):
        replace(spec, small_shapes=((1,),))
