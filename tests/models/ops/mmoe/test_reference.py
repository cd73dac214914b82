"""The plain PyTorch side of the mixture's operations, on the CPU."""

import pytest
import torch

from tarpon.models.ops.mmoe.experts import EXPERTS, experts, experts_reference
from tarpon.models.ops.mmoe.gates import GATES, gates, gates_reference
from tarpon.models.ops.mmoe.mix import MIX, mix, mix_reference
from tarpon.models.ops.mmoe.mixture import MMOE, mmoe, mmoe_reference


@pytest.mark.parametrize(
    ("spec", "shape"), [(MIX, (3, 4, 3, 2)), (GATES, (3, 4, 3, 2)), (EXPERTS, (3, 4, 3, 2)), (MMOE, (3, 5, 4, 3, 2))]
)
def test_gradcheck(spec, shape):
    inputs = spec.inputs(shape, dtype=torch.float64, device="cpu", seed=0)
    leaves = {name: v.detach().double().requires_grad_() for name, v in inputs.items() if getattr(v, "requires_grad", False)}
    rest = {name: value for name, value in inputs.items() if name not in leaves}
    assert torch.autograd.gradcheck(
        lambda *values: spec.reference(**dict(zip(leaves, values, strict=True)), **rest), (*leaves.values(),)
    )


def test_the_parts_make_the_whole():
    inputs = MMOE.inputs((7, 12, 9, 3, 4), dtype=torch.float32, device="cpu", seed=0)
    inputs = {name: v.detach().double() if getattr(v, "requires_grad", False) else v for name, v in inputs.items()}
    mixed, shares = mmoe_reference(**inputs)
    normal = torch.nn.functional.layer_norm(inputs["x"], (12,))
    gate = [inputs[f"gate_{name}"] for name in ("scale", "shift", "weight", "bias")]
    own = gates_reference(normal, *gate, temperature=inputs["temperature"])
    names = ("expert_scale", "expert_shift", "in_weight", "in_bias", "out_weight")
    hidden = experts_reference(normal, *(inputs[name] for name in names), dropout=inputs["dropout"], seed=inputs["seed"])
    torch.testing.assert_close(own, shares)
    torch.testing.assert_close(mix_reference(hidden, inputs["out_bias"], own), mixed)


def test_on_the_cpu_the_public_functions_are_the_references():
    for spec, function in ((MIX, mix), (GATES, gates), (EXPERTS, experts), (MMOE, mmoe)):
        inputs = spec.inputs(spec.small_shapes[1], dtype=torch.float32, device="cpu", seed=0)
        got, want = (f(**inputs) for f in (function, spec.reference))
        assert all(map(torch.equal, *((value if isinstance(value, tuple) else (value,)) for value in (got, want))))


def test_shapes_that_do_not_fit_are_explained():
    inputs = {
        spec.name: spec.inputs(spec.small_shapes[1], dtype=torch.float32, device="cpu", seed=0)
        for spec in (MIX, GATES, EXPERTS)
    }
    with pytest.raises(ValueError, match=r"wants hidden \(E, B, H\), bias \(E, H\) and gates \(B, K, E\); got \(4, 3, 63\)"):
        mix(**inputs["mmoe_mix"] | {"bias": torch.zeros(4, 62)})
    with pytest.raises(ValueError, match=r"wants normal \(B, D\), scale and shift \(K, D\)"):
        gates(**inputs["mmoe_gates"] | {"shift": torch.zeros(4, 62)})
    with pytest.raises(ValueError, match=r"out_weight \(E, H, H\); got \(15, 31\)"):
        experts(**inputs["mmoe_experts"] | {"out_weight": torch.zeros(4, 33, 34)})
    with pytest.raises(ValueError, match=r"both weights of one dtype; got torch.float32 and torch.float16"):
        experts(**inputs["mmoe_experts"] | {"out_weight": torch.zeros(4, 33, 33, dtype=torch.float16)})
    with pytest.raises(ValueError, match=r"dropout=1.5 must be in \[0, 1\)"):
        experts(**inputs["mmoe_experts"] | {"dropout": 1.5})
    with pytest.raises(ValueError, match=r"experts=65 must be in \[1, 64\]"):
        mix(torch.zeros(65, 2, 3), torch.zeros(65, 3), torch.zeros(2, 1, 65))
    with pytest.raises(ValueError, match=r"tasks=17 in \[1, 16\]"):
        mix(torch.zeros(2, 2, 3), torch.zeros(2, 3), torch.zeros(2, 17, 2))
