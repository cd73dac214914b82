"""The mixture's fused operations against float64: forward, every gradient, odd sizes and strides, the same bits twice."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tarpon.models.ops.choices import WAYS, Choice, force_choice
from tarpon.models.ops.compare import compare, measure_deviations, run_with_gradients
from tarpon.models.ops.dropout import draw_seed
from tarpon.models.ops.mmoe.experts import EXPERTS, experts
from tarpon.models.ops.mmoe.gates import GATES, gates
from tarpon.models.ops.mmoe.mix import MIX
from tarpon.models.ops.mmoe.mixture import MMOE, mmoe
from tarpon.models.ops.spec import DTYPES, OpSpec, tolerance

BY_WAY = [
    replace(EXPERTS, name=name, fused=lambda way=name, **inputs: experts(**inputs, way=way)) for name in WAYS["mmoe_experts"]
]
SPECS = [MIX, GATES, *BY_WAY, MMOE]
CASES = [(spec, shape) for spec in SPECS for shape in spec.small_shapes]
MIDDLE = [(spec, spec.small_shapes[1]) for spec in SPECS]


def case_name(value: object) -> str | None:
    return value.name if isinstance(value, OpSpec) else "x".join(map(str, value)) if isinstance(value, tuple) else None


def assert_right(spec: OpSpec, inputs: dict, *, limit: float) -> None:
    found = measure_deviations(spec.fused, spec.reference, inputs, limit=limit)
    assert all(one.ok for one in found), found


def float32_limit(spec: OpSpec, *shape: int) -> float:
    return tolerance(torch.float32, spec.reduction(shape))


@pytest.mark.parametrize(("spec", "shape"), CASES, ids=case_name)
def test_forward_and_every_gradient_equal_float64(spec, shape, device, poisoned):
    for dtype in DTYPES:
        # The interpreter cuts bfloat16 off instead of rounding it, too much for the whole; its parts are tested there.
        if dtype != torch.float32 and (shape != spec.small_shapes[1] or spec is MMOE):
            continue
        found = compare(spec, shape, dtype=dtype, device=device)
        assert all(one.ok for one in found), found


def test_the_table_can_send_a_shape_to_plain_pytorch(device):
    """Then nothing of ours runs, and dropout without a seed is PyTorch's own."""
    shape = MMOE.small_shapes[1]
    with force_choice("mmoe", Choice(way="library")):
        assert all(one.ok for one in compare(MMOE, shape, dtype=torch.float32, device=device))
        inputs = MMOE.inputs(shape, dtype=torch.float32, device=device, seed=3)
        assert "mmoe" not in type(mmoe(**inputs)[0].grad_fn).__name__.lower()
        torch.manual_seed(0)
        mixed = mmoe(**inputs | {"seed": None})[0]
        torch.manual_seed(0)
        assert torch.equal(mixed, MMOE.reference(**inputs | {"seed": None})[0])


@pytest.mark.parametrize(("spec", "shape"), MIDDLE, ids=case_name)
def test_strides_do_not_matter(spec, shape, device, poisoned, spread, through_gaps):
    inputs = spec.inputs(shape, dtype=torch.float32, device=device, seed=3)
    apart = {
        name: spread(value).requires_grad_() if isinstance(value, Tensor) and value.requires_grad else value
        for name, value in inputs.items()
    }
    assert not all(value.is_contiguous() for value in apart.values() if isinstance(value, Tensor))
    want, got = (
        run_with_gradients(spec.fused, inputs),
        run_with_gradients(lambda **given: through_gaps(spec.fused(**given)), apart),
    )
    for name, value in got.items():
        torch.testing.assert_close(value, want[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("spec", "shape"), MIDDLE, ids=case_name)
def test_two_runs_give_the_same_bits(spec, shape, device):
    inputs = spec.inputs(shape, dtype=torch.float32, device=device, seed=3)
    first, second = run_with_gradients(spec.fused, inputs), run_with_gradients(spec.fused, inputs)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("rows", [0, 150])
def test_any_number_of_rows(rows, device, poisoned):
    """None at all, and so many that sums over rows are made in several parts."""
    for spec in SPECS:
        shape = tuple({"B": rows, "K": 2, "E": 3}.get(letter, 5) for letter in spec.letters)
        inputs = spec.inputs(shape, dtype=torch.float32, device=device, seed=3)
        if rows:
            assert_right(spec, inputs, limit=float32_limit(spec, *shape))
        else:
            assert all(not value.count_nonzero() for value in run_with_gradients(spec.fused, inputs).values())


def test_rows_without_a_gradient_leave_the_others_as_they_are(device):
    for spec in (GATES, *BY_WAY):
        inputs = spec.inputs(spec.small_shapes[1], dtype=torch.float32, device=device, seed=3)
        want = run_with_gradients(spec.fused, inputs)
        got = run_with_gradients(spec.fused, inputs | {"normal": inputs["normal"].detach()})
        assert {*want} - {*got} == {"normal"}
        assert all(torch.equal(value, want[name]) for name, value in got.items())


def test_dropout_is_that_of_the_seed(device):
    inputs = EXPERTS.inputs((8, 16, 32, 3), dtype=torch.float32, device=device, seed=1)
    for spec in BY_WAY:
        other = inputs | {"seed": draw_seed()}
        none = inputs | {"dropout": 0.0, "seed": None}
        assert not torch.equal(spec.fused(**inputs), spec.fused(**other))
        assert_right(spec, other, limit=float32_limit(spec, 8, 16, 32, 3))
        assert_right(spec, none, limit=float32_limit(spec, 8, 16, 32, 3))
        kept = spec.fused(**inputs)
        with torch.no_grad():  # nothing is kept for a gradient then
            assert torch.equal(spec.fused(**inputs), kept)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_temperature(temperature, device):
    inputs = GATES.inputs((17, 33, 4, 5), dtype=torch.float32, device=device, seed=2) | {"temperature": temperature}
    assert_right(GATES, inputs, limit=float32_limit(GATES, 17, 33, 4, 5) * max(1, 1 / temperature))


def test_gates_far_to_one_side_stay_finite(device):
    inputs = GATES.inputs((4, 8, 5, 3), dtype=torch.float32, device=device, seed=2)
    with torch.no_grad():
        inputs["bias"].copy_(torch.tensor([1e30, -1e30, 0, 5, 6]).expand(3, 5))
    got = run_with_gradients(gates, inputs)
    assert got["output 0"][:, :, 0].eq(1).all()
    assert all(value.isfinite().all() for value in got.values())


def test_what_kernels_do_not_serve_is_refused(device):
    inputs = {spec.name: spec.inputs(spec.small_shapes[1], dtype=torch.float32, device=device, seed=0) for spec in SPECS}
    for spec in SPECS:
        wide = {
            name: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for name, v in inputs[spec.name].items()
        }
        with pytest.raises(ValueError, match=r"takes float16, bfloat16 or float32.*got torch\.float64"):
            spec.fused(**wide)
    with pytest.raises(ValueError, match="needs a seed"):
        experts(**inputs["library_products"] | {"seed": None})
    with pytest.raises(ValueError, match=r"way='other' must be one of fused, library_products"):
        experts(**inputs["library_products"], way="other")


def test_a_compiled_mixture_answers_as_an_eager_one(device):
    """Fake tensors have the right shapes, and the gradient is traced with the rest."""
    inputs = MMOE.inputs((5, 7, 9, 3, 2), dtype=torch.float32, device=device, seed=3)
    compiled = torch.compile(mmoe, backend="aot_eager", fullgraph=True)
    want, got = run_with_gradients(mmoe, inputs), run_with_gradients(compiled, inputs)
    for name, value in got.items():
        torch.testing.assert_close(value, want[name], rtol=1e-6, atol=1e-6)
    torch.manual_seed(0)
    first, again = (compiled(**inputs | {"seed": None})[0] for _ in range(2))  # the seed is drawn inside
    assert not torch.equal(first, again)


def test_autocast_takes_products_down_and_leaves_gradients_wide(device):
    wide = MMOE.inputs((15, 31, 33, 4, 4), dtype=torch.float32, device=device, seed=3)
    products = ("in_weight", "out_weight", "gate_weight")
    narrow = wide | {name: wide[name].detach().bfloat16().requires_grad_() for name in products}

    def under_autocast(**inputs):
        with torch.autocast(device, dtype=torch.bfloat16):
            return mmoe(**inputs)

    got, want = run_with_gradients(under_autocast, wide), run_with_gradients(mmoe, narrow)
    assert got["output 0"].dtype == torch.bfloat16
    for name, value in got.items():
        assert value.dtype == torch.float32 or name == "output 0"
        assert torch.equal(value, want[name].to(value.dtype))
