"""Kernels of `mmoe_gates`. A program holds a few tasks: column n is task n // BLOCK_E of them and expert n % BLOCK_E.

In kernels: p_ pointer, b_ block of values, o_ offsets, m_ mask, i_ index.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tarpon.models.ops.launch import cdiv, next_power
from tarpon.models.ops.maths_kernel import dot

COLUMNS = 64  # tasks x experts of a program
BLOCK_B = 16  # rows; the smallest that a product takes, for a batch has few rows to share out
BLOCK_D = 64
PARTS_MAX = 8  # sums over rows are cut into so many parts at most: each is as large as the gates' weight
PART_ROWS = 128


def blocks(E: int, K: int) -> dict[str, int]:
    """The block sizes for E experts and K tasks; at least 16 columns, which a product needs."""
    block_e = max(next_power(E), 2)
    tasks = max(min(next_power(K), COLUMNS // block_e), 16 // block_e, 1)
    return {"TASKS": tasks, "BLOCK_E": block_e, "BLOCK_B": BLOCK_B, "BLOCK_D": BLOCK_D}


def gates_forward(normal: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor, sharpness: float) -> Tensor:
    """Contiguous inputs -> (B, K, E) float32."""
    B, (K, D, E) = len(normal), weight.shape
    size = blocks(E, K)
    gates = normal.new_empty((B, K, E), dtype=torch.float32)
    grid = (cdiv(B, BLOCK_B), cdiv(K, size["TASKS"]))
    gates_kernel[grid](normal, scale, shift, weight, bias, gates, sharpness, B, D, K, E, **size)
    return gates


def gates_backward(
    grad: Tensor, gates: Tensor, normal: Tensor, scale: Tensor, weight: Tensor, sharpness: float, needs_normal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Contiguous inputs -> gradient of normal (empty if not needed), normal^T dscores (K, D, E), gradient of bias (K, E)."""
    B, (K, D, E) = len(normal), weight.shape
    size = blocks(E, K)
    groups = cdiv(K, size["TASKS"])
    rows = cdiv(cdiv(B, min(cdiv(B, PART_ROWS), PARTS_MAX) or 1), BLOCK_B) * BLOCK_B  # of a part; a function of B alone
    parts = cdiv(B, max(rows, 1))
    products = normal.new_empty((parts, K, D, E), dtype=torch.float32)
    biases = normal.new_empty((parts, K, E), dtype=torch.float32)
    gates_weight_kernel[(cdiv(D, BLOCK_D), groups, parts)](
        grad, gates, normal, weight, products, biases, sharpness, rows, B, D, K, E, **size
    )
    d_normal = normal.new_empty(normal.shape if needs_normal else (0,))
    if needs_normal:
        grid = (cdiv(B, BLOCK_B), cdiv(D, BLOCK_D))
        gates_normal_kernel[grid](grad, gates, scale, weight, d_normal, sharpness, B, D, K, E, **size)
    return d_normal, products.sum(0), biases.sum(0)


@triton.jit
def columns(i_group, K, E, TASKS: tl.constexpr, BLOCK_E: tl.constexpr):
    """Tasks and experts of the program's columns, and which of them exist."""
    o_n = tl.arange(0, TASKS * BLOCK_E)
    i_k = i_group * TASKS + o_n // BLOCK_E
    i_e = o_n % BLOCK_E
    return i_k, i_e, (i_k < K) & (i_e < E)


@triton.jit
def score_gradient(
    p_grad, p_gates, o_gates, m_gates, sharpness, BLOCK_B: tl.constexpr, TASKS: tl.constexpr, BLOCK_E: tl.constexpr
):
    """Through the softmax: gate * (grad - sum over experts of gate * grad), over the temperature."""
    b_grad = tl.load(p_grad + o_gates, mask=m_gates, other=0.0)
    b_gate = tl.load(p_gates + o_gates, mask=m_gates, other=0.0)
    b_sum = tl.sum(tl.reshape(b_gate * b_grad, (BLOCK_B, TASKS, BLOCK_E)), 2)
    b_sum = tl.broadcast_to(b_sum[:, :, None], (BLOCK_B, TASKS, BLOCK_E))
    return b_gate * (b_grad - tl.reshape(b_sum, (BLOCK_B, TASKS * BLOCK_E))) * sharpness


@triton.jit
def gates_kernel(
    p_normal, p_scale, p_shift, p_weight, p_bias, p_gates, sharpness, B, D, K, E,
    TASKS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    o_b = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    i_k, i_e, m_n = columns(tl.program_id(1), K, E, TASKS, BLOCK_E)
    m_b = o_b < B
    b_score = tl.zeros((BLOCK_B, TASKS * BLOCK_E), tl.float32)
    b_offset = tl.load(p_bias + i_k * E + i_e, mask=m_n, other=0.0).to(tl.float32)
    for first in range(0, D, BLOCK_D):
        o_d = first + tl.arange(0, BLOCK_D)
        m_d = o_d < D
        b_x = tl.load(p_normal + o_b[:, None] * D + o_d[None, :], mask=m_b[:, None] & m_d[None, :], other=0.0)
        o_kd = i_k[None, :] * D + o_d[:, None]
        m_w = m_d[:, None] & m_n[None, :]
        b_w = tl.load(p_weight + o_kd * E + i_e[None, :], mask=m_w, other=0.0).to(tl.float32)
        b_scaled = b_w * tl.load(p_scale + o_kd, mask=m_w, other=0.0).to(tl.float32)
        b_offset += tl.sum(b_w * tl.load(p_shift + o_kd, mask=m_w, other=0.0).to(tl.float32), 0)
        b_score = dot(b_x.to(p_weight.dtype.element_ty), b_scaled.to(p_weight.dtype.element_ty), b_score)
    b_score = (b_score + b_offset[None, :]) * sharpness
    b_score = tl.where((i_e < E)[None, :], b_score, float("-inf"))  # tasks that do not exist keep 0: no NaN
    b_score = tl.reshape(b_score, (BLOCK_B, TASKS, BLOCK_E))
    b_gate = tl.exp(b_score - tl.max(b_score, 2)[:, :, None])
    b_gate = b_gate / tl.sum(b_gate, 2)[:, :, None]
    o_gates = o_b[:, None] * K * E + (i_k * E + i_e)[None, :]
    tl.store(p_gates + o_gates, tl.reshape(b_gate, (BLOCK_B, TASKS * BLOCK_E)), mask=m_b[:, None] & m_n[None, :])


@triton.jit
def gates_weight_kernel(
    p_grad, p_gates, p_normal, p_weight, p_products, p_biases, sharpness, rows, B, D, K, E,
    TASKS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """normal^T dscores over `rows` rows of a part, and the sum of dscores."""
    o_d = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    i_part = tl.program_id(2).to(tl.int64)
    i_k, i_e, m_n = columns(tl.program_id(1), K, E, TASKS, BLOCK_E)
    m_d = o_d < D
    b_product = tl.zeros((BLOCK_D, TASKS * BLOCK_E), tl.float32)
    b_bias = tl.zeros((TASKS * BLOCK_E,), tl.float32)
    for first in range(0, rows, BLOCK_B):
        o_b = i_part * rows + first + tl.arange(0, BLOCK_B)
        m_b = o_b < B
        o_gates = o_b[:, None] * K * E + (i_k * E + i_e)[None, :]
        b_score = score_gradient(p_grad, p_gates, o_gates, m_b[:, None] & m_n[None, :], sharpness, BLOCK_B, TASKS, BLOCK_E)
        b_x = tl.load(p_normal + o_b[None, :] * D + o_d[:, None], mask=m_b[None, :] & m_d[:, None], other=0.0)
        b_product = dot(b_x.to(p_weight.dtype.element_ty), b_score.to(p_weight.dtype.element_ty), b_product)
        b_bias += tl.sum(b_score, 0)
    o_kd = (i_part * K + i_k)[None, :] * D + o_d[:, None]
    tl.store(p_products + o_kd * E + i_e[None, :], b_product, mask=m_d[:, None] & m_n[None, :])
    if tl.program_id(0) == 0:
        tl.store(p_biases + (i_part * K + i_k) * E + i_e, b_bias, mask=m_n)


@triton.jit
def gates_normal_kernel(
    p_grad, p_gates, p_scale, p_weight, p_d_normal, sharpness, B, D, K, E,
    TASKS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """dscores times the folded weight's transpose, over all tasks."""
    o_b = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    o_d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    m_b = o_b < B
    m_d = o_d < D
    b_dx = tl.zeros((BLOCK_B, BLOCK_D), tl.float32)
    for i_group in range(tl.cdiv(K, TASKS)):
        i_k, i_e, m_n = columns(i_group, K, E, TASKS, BLOCK_E)
        o_gates = o_b[:, None] * K * E + (i_k * E + i_e)[None, :]
        b_score = score_gradient(p_grad, p_gates, o_gates, m_b[:, None] & m_n[None, :], sharpness, BLOCK_B, TASKS, BLOCK_E)
        o_kd = i_k[:, None] * D + o_d[None, :]
        m_w = m_n[:, None] & m_d[None, :]
        b_w = tl.load(p_weight + o_kd * E + i_e[:, None], mask=m_w, other=0.0).to(tl.float32)
        b_w *= tl.load(p_scale + o_kd, mask=m_w, other=0.0).to(tl.float32)
        b_dx = dot(b_score.to(p_weight.dtype.element_ty), b_w.to(p_weight.dtype.element_ty), b_dx)
    o_dx = o_b[:, None] * D + o_d[None, :]
    tl.store(p_d_normal + o_dx, b_dx.to(p_d_normal.dtype.element_ty), mask=m_b[:, None] & m_d[None, :])
