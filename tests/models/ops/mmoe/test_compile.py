"""Every kernel of the mixture compiles for an H200, with the arguments its launcher gives it, and fits."""

import pytest
import torch

from tarpon.models.ops.dropout import draw_seed
from tarpon.models.ops.launch import ASSUMED

PRODUCTS = {"expert_in_kernel", "expert_in_gradient_kernel", "expert_in_weight_kernel"}
GATES = {"gates_kernel", "gates_weight_kernel", "gates_normal_kernel"}
PASSES = {"affine_kernel", "activate_kernel", "activate_gradient_kernel", "weight_gradient_kernel"}


def launch_experts(shape, dtype, *, fused: bool, dropout: float) -> None:
    """Forward and backward below the device's dispatch; the values are whatever memory holds."""
    from tarpon.models.ops.mmoe.experts_launch import Dropout, experts_backward, experts_forward

    B, D, H, E = shape
    normal, affine, bias = torch.zeros(B, D), torch.zeros(E, D, dtype=dtype), torch.zeros(E, H, dtype=dtype)
    given = (normal, affine, affine, torch.zeros(E, D, H, dtype=dtype), bias, torch.zeros(E, H, H, dtype=dtype))
    drop = Dropout.of(dropout, draw_seed())
    answer, product, hidden = experts_forward(*given, drop=drop, fused=fused, keep=True)
    assert answer.shape == product.shape == hidden.shape == (E, B, H)
    slopes = experts_backward(answer, product, hidden, *given, drop=drop, fused=fused, needs_normal=True)
    assert [slope.shape for slope in slopes] == [tensor.shape for tensor in given]


def names(compiled: list) -> set[str]:
    for kernel in compiled:
        assert kernel.metadata.shared <= ASSUMED.shared_bytes, kernel.metadata.name
    return {kernel.metadata.name for kernel in compiled}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize(("shape", "dropout"), [((144, 160, 272, 2), 0.1), ((5, 7, 9, 3), 0.0)], ids=str)
def test_expert_kernels_compile_and_fit(compiled, shape, dropout, dtype):
    launch_experts(shape, dtype, fused=True, dropout=dropout)
    assert names(compiled) == PRODUCTS | {"normal_gradient_kernel"}
    large = shape[0] > 64 and dtype != torch.float32
    for kernel in compiled:  # Hopper's own tensor core instructions need tiles of 64 rows
        assert ("wgmma" in kernel.asm["ptx"]) == (large and kernel.metadata.name in PRODUCTS), kernel.metadata.name
    compiled.clear()
    launch_experts(shape, dtype, fused=False, dropout=dropout)
    assert names(compiled) == PASSES | {"normal_gradient_kernel"}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize(("B", "D", "H", "E", "K"), [(32, 1024, 2048, 4, 4), (5, 7, 9, 1, 1), (16, 64, 128, 64, 16)])
def test_gate_and_mix_kernels_compile_and_fit(compiled, B, D, H, E, K, dtype):
    from tarpon.models.ops.mmoe.gates_kernel import gates_backward, gates_forward
    from tarpon.models.ops.mmoe.mix_kernel import mix_backward, mix_forward

    normal, affine = torch.zeros(B, D), torch.zeros(K, D, dtype=dtype)
    weight, bias = torch.zeros(K, D, E, dtype=dtype), torch.zeros(K, E, dtype=dtype)
    gates = gates_forward(normal, affine, affine, weight, bias, 1.0)
    gates_backward(gates, gates, normal, affine, weight, 1.0, True)
    hidden, hidden_bias = torch.zeros(E, B, H, dtype=dtype), torch.zeros(E, H, dtype=dtype)
    mixed = mix_forward(hidden, hidden_bias, gates)
    assert mixed.shape == (B, K, H)
    assert [slope.shape for slope in mix_backward(mixed, hidden, hidden_bias, gates)] == [(E, B, H), (E, H), (B, K, E)]
    assert names(compiled) == GATES | {"mix_kernel", "mix_grad_kernel"}
