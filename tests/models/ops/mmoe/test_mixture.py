"""The mixture's fused operations against float64: forward, every gradient, odd sizes and strides, the same bits twice."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tarpon.models.ops.dropout import draw_seed
from tarpon.models.ops.launch import INTERPRETED
from tarpon.models.ops.mmoe.experts import EXPERTS, experts
from tarpon.models.ops.mmoe.gates import GATES, gates
from tarpon.models.ops.mmoe.mix import MIX
from tarpon.models.ops.mmoe.mixture import MMOE, mmoe
from tarpon.models.ops.mmoe.variants import VARIANTS
from tarpon.models.ops.spec import TOLERANCE, OpSpec, discrepancy

BY_VARIANT = [
    replace(EXPERTS, name=name, fused=lambda variant=name, **inputs: experts(**inputs, variant=variant)) for name in VARIANTS
]
SPECS = [MIX, GATES, *BY_VARIANT, MMOE]
CASES = [(spec, shape) for spec in SPECS for shape in (spec.small_shapes if INTERPRETED else spec.shapes)]
MIDDLE = [(spec, spec.small_shapes[1]) for spec in SPECS]


def case_name(value: object) -> str | None:
    return value.name if isinstance(value, OpSpec) else "x".join(map(str, value)) if isinstance(value, tuple) else None


def run(function, inputs: dict, *, upstream_seed: int = 5, strided: bool = False) -> dict[str, Tensor]:
    """Outputs and the gradients of all that takes one, for upstream gradients drawn from a seed."""
    outputs = function(**inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    draw = torch.Generator().manual_seed(upstream_seed)
    upstream = [torch.randn(out.shape, generator=draw).to(out) for out in outputs]
    if strided:
        upstream = [spread(tensor) for tensor in upstream]
    leaves = {name: value for name, value in inputs.items() if isinstance(value, Tensor) and value.requires_grad}
    slopes = torch.autograd.grad(outputs, list(leaves.values()), upstream)
    return {f"output {i}": out.detach() for i, out in enumerate(outputs)} | dict(zip(leaves, slopes, strict=True))


def exact(inputs: dict) -> dict:
    """The same in float64."""
    return {
        name: value.detach().double().requires_grad_() if isinstance(value, Tensor) and value.requires_grad else value
        for name, value in inputs.items()
    }


def spread(tensor: Tensor) -> Tensor:
    """The same values with gaps between them and the axes in another order in memory."""
    wide = torch.full((*tensor.shape[::-1], 2), torch.nan, dtype=tensor.dtype, device=tensor.device)
    wide[..., 0] = tensor.detach().permute(*range(tensor.dim())[::-1])
    return wide[..., 0].permute(*range(tensor.dim())[::-1])


def assert_equal(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> None:
    assert got.keys() == want.keys()
    errors = {name: discrepancy(value, want[name]) for name, value in got.items()}
    assert all(error < tolerance for error in errors.values()), errors


@pytest.mark.parametrize(("spec", "shape"), CASES, ids=case_name)
def test_forward_and_every_gradient_equal_float64(spec, shape, device, poisoned):
    for dtype, tolerance in TOLERANCE.items():
        # The interpreter cuts bfloat16 off instead of rounding it, too much for the whole; its parts are tested there.
        if dtype != torch.float32 and INTERPRETED and (shape != spec.small_shapes[1] or spec is MMOE):
            continue
        inputs = spec.inputs(shape, dtype=dtype, device=device, seed=3)
        assert_equal(run(spec.fused, inputs), run(spec.reference, exact(inputs)), tolerance)


@pytest.mark.parametrize(("spec", "shape"), MIDDLE, ids=case_name)
def test_strides_do_not_matter(spec, shape, device, poisoned):
    inputs = spec.inputs(shape, dtype=torch.float32, device=device, seed=3)
    apart = {
        name: spread(value).requires_grad_() if isinstance(value, Tensor) and value.requires_grad else value
        for name, value in inputs.items()
    }
    assert not all(value.is_contiguous() for value in apart.values() if isinstance(value, Tensor))
    want, got = run(spec.fused, inputs), run(spec.fused, apart, strided=True)
    for name, value in got.items():
        torch.testing.assert_close(value, want[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("spec", "shape"), MIDDLE, ids=case_name)
def test_two_runs_give_the_same_bits(spec, shape, device):
    inputs = spec.inputs(shape if INTERPRETED else spec.defaults[0], dtype=torch.float32, device=device, seed=3)
    first, second = run(spec.fused, inputs), run(spec.fused, inputs)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("rows", [0, 150])
def test_any_number_of_rows(rows, device, poisoned):
    """None at all, and so many that sums over rows are made in several parts."""
    for spec in SPECS:
        shape = tuple({"B": rows, "K": 2, "E": 3}.get(letter, 5) for letter in spec.letters)
        inputs = spec.inputs(shape, dtype=torch.float32, device=device, seed=3)
        got = run(spec.fused, inputs)
        if rows:
            assert_equal(got, run(spec.reference, exact(inputs)), TOLERANCE[torch.float32])
        else:
            assert all(not value.count_nonzero() for value in got.values())


def test_rows_without_a_gradient_leave_the_others_as_they_are(device):
    for spec in (GATES, *BY_VARIANT):
        inputs = spec.inputs(spec.small_shapes[1], dtype=torch.float32, device=device, seed=3)
        want = run(spec.fused, inputs)
        got = run(spec.fused, inputs | {"normal": inputs["normal"].detach()})
        assert {*want} - {*got} == {"normal"}
        assert all(torch.equal(value, want[name]) for name, value in got.items())


def test_dropout_is_that_of_the_seed(device):
    inputs = EXPERTS.inputs((8, 16, 32, 3), dtype=torch.float32, device=device, seed=1)
    for spec in BY_VARIANT:
        other = inputs | {"seed": draw_seed()}
        none = inputs | {"dropout": 0.0, "seed": None}
        assert not torch.equal(spec.fused(**inputs), spec.fused(**other))
        assert_equal(run(spec.fused, other), run(spec.reference, exact(other)), 1e-5)
        assert_equal(run(spec.fused, none), run(spec.reference, exact(none)), 1e-5)
        kept = spec.fused(**inputs)
        with torch.no_grad():  # nothing is kept for a gradient then
            assert torch.equal(spec.fused(**inputs), kept)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_temperature(temperature, device):
    inputs = GATES.inputs((17, 33, 4, 5), dtype=torch.float32, device=device, seed=2) | {"temperature": temperature}
    assert_equal(run(gates, inputs), run(GATES.reference, exact(inputs)), 1e-5 * max(1, 1 / temperature))


def test_gates_far_to_one_side_stay_finite(device):
    inputs = GATES.inputs((4, 8, 5, 3), dtype=torch.float32, device=device, seed=2)
    with torch.no_grad():
        inputs["bias"].copy_(torch.tensor([1e30, -1e30, 0, 5, 6]).expand(3, 5))
    got = run(gates, inputs)
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
        experts(**inputs["library"] | {"seed": None})
    with pytest.raises(ValueError, match=r"variant='other' must be one of library, fused"):
        experts(**inputs["library"], variant="other")


def test_a_compiled_mixture_answers_as_an_eager_one(device):
    """Fake tensors have the right shapes, and the gradient is traced with the rest."""
    inputs = MMOE.inputs((5, 7, 9, 3, 2), dtype=torch.float32, device=device, seed=3)
    compiled = torch.compile(mmoe, backend="aot_eager", fullgraph=True)
    want, got = run(mmoe, inputs), run(compiled, inputs)
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

    got, want = run(under_autocast, wide), run(mmoe, narrow)
    assert got["output 0"].dtype == torch.bfloat16
    for name, value in got.items():
        assert value.dtype == torch.float32 or name == "output 0"
        assert torch.equal(value, want[name].to(value.dtype))
