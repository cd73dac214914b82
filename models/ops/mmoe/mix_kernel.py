"""Kernels of `mmoe_mix`. A program holds one row and BLOCK_H features of all tasks and walks over the experts.

In kernels: p_ pointer, b_ block of values, o_ offsets, m_ mask, i_ index.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tarpon.models.ops.launch import cdiv, next_power
from tarpon.models.ops.maths_kernel import gelu, gelu_slope

TILE = 4096  # tasks x features of a program: 32 float32 registers a thread at 4 warps
BLOCK_H_MAX = 1024


def blocks(H: int, K: int) -> dict[str, int]:
    """The block sizes for H features and K tasks."""
    block_k = next_power(K)
    return {"BLOCK_K": block_k, "BLOCK_H": max(16, min(next_power(H), BLOCK_H_MAX, TILE // block_k))}


def mix_forward(hidden: Tensor, bias: Tensor, gates: Tensor) -> Tensor:
    """Contiguous (E, B, H), (E, H), (B, K, E) -> (B, K, H)."""
    (E, B, H), K = hidden.shape, gates.shape[1]
    size = blocks(H, K)
    mixed = hidden.new_empty(B, K, H)
    mix_kernel[(B, cdiv(H, size["BLOCK_H"]))](hidden, bias, gates, mixed, B, H, K, E=E, **size)
    return mixed


def mix_backward(grad: Tensor, hidden: Tensor, bias: Tensor, gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Contiguous (B, K, H) and the inputs -> gradients of hidden, bias and gates."""
    (E, B, H), K = hidden.shape, gates.shape[1]
    size = blocks(H, K)
    tiles = cdiv(H, size["BLOCK_H"])
    d_hidden = torch.empty_like(hidden)
    parts = gates.new_empty(tiles, B, K, E)  # summed in a fixed order, so that two runs give the same bits
    mix_grad_kernel[(B, tiles)](grad, hidden, bias, gates, d_hidden, parts, B, H, K, E=E, **size)
    return d_hidden, d_hidden.sum(1, dtype=torch.float32).to(bias.dtype), parts.sum(0)


@triton.jit
def mix_kernel(p_hidden, p_bias, p_gates, p_mixed, B, H, K, E: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_H: tl.constexpr):
    i_b = tl.program_id(0).to(tl.int64)  # int64: E*B*H can pass 2**31
    o_h = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    o_k = tl.arange(0, BLOCK_K)
    m_h = o_h < H
    m_k = o_k < K
    b_mixed = tl.zeros((BLOCK_K, BLOCK_H), tl.float32)
    for i_e in range(E):
        b_x = tl.load(p_hidden + (i_e * B + i_b) * H + o_h, mask=m_h, other=0.0).to(tl.float32)
        b_x += tl.load(p_bias + i_e * H + o_h, mask=m_h, other=0.0).to(tl.float32)
        b_gate = tl.load(p_gates + (i_b * K + o_k) * E + i_e, mask=m_k, other=0.0)
        b_mixed += b_gate[:, None] * gelu(b_x)[None, :]
    o_mixed = (i_b * K + o_k)[:, None] * H + o_h[None, :]
    tl.store(p_mixed + o_mixed, b_mixed.to(p_mixed.dtype.element_ty), mask=m_k[:, None] & m_h[None, :])


@triton.jit
def mix_grad_kernel(
    p_grad, p_hidden, p_bias, p_gates, p_d_hidden, p_parts,
    B, H, K, E: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    i_b = tl.program_id(0).to(tl.int64)
    i_h = tl.program_id(1)
    o_h = i_h * BLOCK_H + tl.arange(0, BLOCK_H)
    o_k = tl.arange(0, BLOCK_K)
    m_h = o_h < H
    m_k = o_k < K
    o_grad = (i_b * K + o_k)[:, None] * H + o_h[None, :]
    b_grad = tl.load(p_grad + o_grad, mask=m_k[:, None] & m_h[None, :], other=0.0).to(tl.float32)
    p_part = p_parts + (i_h * B + i_b) * K * E
    for i_e in range(E):
        o_x = (i_e * B + i_b) * H + o_h
        b_x = tl.load(p_hidden + o_x, mask=m_h, other=0.0).to(tl.float32)
        b_x += tl.load(p_bias + i_e * H + o_h, mask=m_h, other=0.0).to(tl.float32)
        b_gate = tl.load(p_gates + (i_b * K + o_k) * E + i_e, mask=m_k, other=0.0)
        b_dx = tl.sum(b_gate[:, None] * b_grad, 0) * gelu_slope(b_x)
        tl.store(p_d_hidden + o_x, b_dx.to(p_d_hidden.dtype.element_ty), mask=m_h)
        tl.store(p_part + o_k * E + i_e, tl.sum(b_grad * gelu(b_x)[None, :], 1), mask=m_k)
