"""Kernels of `mmoe_experts`: four that pass over values, and three products with something at their ends. Letters as there.

In kernels: p_ pointer, b_ block of values, o_ offsets, m_ mask, i_ index. Addresses are 64-bit: E*B*H can pass 2**31.
"""

import triton
import triton.language as tl

from tarpon.models.ops.dropout_kernel import keep, row_keys
from tarpon.models.ops.launch import next_power
from tarpon.models.ops.maths_kernel import dot, gelu, gelu_slope

FREE = ["threshold"]  # of dropout: another value must not compile another kernel
GROUP = tl.constexpr(8)  # tiles of rows that share their columns while these are in the cache


def flat_tile(columns: int) -> dict[str, int]:
    """Rows and columns of a pass: 4096 values a program, 32 a thread at 4 warps."""
    block = min(max(next_power(columns), 16), 256)
    return {"BLOCK_R": 4096 // block if block > 64 else 64, "BLOCK_C": block}


@triton.jit
def drop(b_values, o_row, o_column, p_seed, threshold, keep_scale, DROP: tl.constexpr):
    """Dropout of a block, or of its gradient."""
    if DROP:
        b_kept = keep(row_keys(o_row, p_seed)[:, None], o_column[None, :], threshold)
        b_values = tl.where(b_kept, b_values * keep_scale, 0.0)
    return b_values


@triton.jit
def affine_kernel(p_normal, p_scale, p_shift, p_rows, B, D, E: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """normal * scale_e + shift_e for all experts; normal is read once."""
    o_b = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    o_d = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    m_d = o_d < D
    m_x = (o_b < B)[:, None] & m_d[None, :]
    b_x = tl.load(p_normal + o_b[:, None] * D + o_d[None, :], mask=m_x, other=0.0).to(tl.float32)
    for i_e in range(E):
        b_scale = tl.load(p_scale + i_e * D + o_d, mask=m_d, other=0.0).to(tl.float32)
        b_shift = tl.load(p_shift + i_e * D + o_d, mask=m_d, other=0.0).to(tl.float32)
        b_y = b_x * b_scale[None, :] + b_shift[None, :]
        tl.store(p_rows + (i_e * B + o_b)[:, None] * D + o_d[None, :], b_y.to(p_rows.dtype.element_ty), mask=m_x)


@triton.jit
def normal_gradient_kernel(p_rows, p_scale, p_d_normal, B, D, E: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """Sum over experts of the gradient of `affine_kernel`'s rows times their scale."""
    o_b = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    o_d = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    m_d = o_d < D
    m_x = (o_b < B)[:, None] & m_d[None, :]
    b_dx = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    for i_e in range(E):
        b_scale = tl.load(p_scale + i_e * D + o_d, mask=m_d, other=0.0).to(tl.float32)
        b_dy = tl.load(p_rows + (i_e * B + o_b)[:, None] * D + o_d[None, :], mask=m_x, other=0.0).to(tl.float32)
        b_dx += b_dy * b_scale[None, :]
    tl.store(p_d_normal + o_b[:, None] * D + o_d[None, :], b_dx.to(p_d_normal.dtype.element_ty), mask=m_x)


@triton.jit(do_not_specialize=FREE)
def activate_kernel(
    p_product, p_bias, p_hidden, B, H, p_seed, threshold, keep_scale,
    DROP: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dropout(gelu(product + bias))."""
    i_e = tl.program_id(2).to(tl.int64)
    o_b = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    o_h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    m_h = o_h < H
    m_x = (o_b < B)[:, None] & m_h[None, :]
    o_row = i_e * B + o_b
    o_x = o_row[:, None] * H + o_h[None, :]
    b_x = tl.load(p_product + o_x, mask=m_x, other=0.0).to(tl.float32)
    b_x += tl.load(p_bias + i_e * H + o_h, mask=m_h, other=0.0).to(tl.float32)[None, :]
    b_y = drop(gelu(b_x), o_row, o_h, p_seed, threshold, keep_scale, DROP)
    tl.store(p_hidden + o_x, b_y.to(p_hidden.dtype.element_ty), mask=m_x)


@triton.jit(do_not_specialize=FREE)
def activate_gradient_kernel(
    p_grad, p_product, p_bias, p_parts, B, H, p_seed, threshold, keep_scale,
    DROP: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Turns the gradient of the hidden values, in place, into that of the product; adds up BLOCK_R rows of it for the bias."""
    i_e = tl.program_id(2).to(tl.int64)
    o_b = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    o_h = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    m_h = o_h < H
    m_x = (o_b < B)[:, None] & m_h[None, :]
    o_row = i_e * B + o_b
    o_x = o_row[:, None] * H + o_h[None, :]
    b_x = tl.load(p_product + o_x, mask=m_x, other=0.0).to(tl.float32)
    b_x += tl.load(p_bias + i_e * H + o_h, mask=m_h, other=0.0).to(tl.float32)[None, :]
    b_dy = tl.load(p_grad + o_x, mask=m_x, other=0.0).to(tl.float32)
    b_dx = drop(b_dy, o_row, o_h, p_seed, threshold, keep_scale, DROP) * gelu_slope(b_x)
    tl.store(p_grad + o_x, b_dx.to(p_grad.dtype.element_ty), mask=m_x)
    tl.store(p_parts + (tl.program_id(0) * tl.num_programs(2) + i_e) * H + o_h, tl.sum(b_dx, 0), mask=m_h)


@triton.jit
def weight_gradient_kernel(p_d_weight, p_weight, p_scale, p_shift, p_d_bias, p_d_scale, p_d_shift, D, H, BLOCK_C: tl.constexpr):
    """One row (e, d) of H values. p_d_weight holds normal^T dproduct and becomes, in place, the weight's gradient."""
    i_row = tl.program_id(0).to(tl.int64)
    i_e = i_row // D
    scale = tl.load(p_scale + i_row).to(tl.float32)
    shift = tl.load(p_shift + i_row).to(tl.float32)
    b_d_scale = tl.zeros((BLOCK_C,), tl.float32)
    b_d_shift = tl.zeros((BLOCK_C,), tl.float32)
    for first in range(0, H, BLOCK_C):
        o_h = first + tl.arange(0, BLOCK_C)
        m_h = o_h < H
        b_g = tl.load(p_d_weight + i_row * H + o_h, mask=m_h, other=0.0).to(tl.float32)
        b_w = tl.load(p_weight + i_row * H + o_h, mask=m_h, other=0.0).to(tl.float32)
        b_db = tl.load(p_d_bias + i_e * H + o_h, mask=m_h, other=0.0)
        b_d_scale += b_w * b_g
        b_d_shift += b_w * b_db
        tl.store(p_d_weight + i_row * H + o_h, (scale * b_g + shift * b_db).to(p_d_weight.dtype.element_ty), mask=m_h)
    tl.store(p_d_scale + i_row, tl.sum(b_d_scale, 0))
    tl.store(p_d_shift + i_row, tl.sum(b_d_shift, 0))


@triton.jit
def tile(M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Numbers of the program's tile: GROUP tiles of rows go over all columns before the next GROUP begins."""
    tiles_m, tiles_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    i_group = tl.program_id(0) // (GROUP * tiles_n)
    size = tl.minimum(tiles_m - i_group * GROUP, GROUP)
    i_rest = tl.program_id(0) % (GROUP * tiles_n)
    return i_group * GROUP + i_rest % size, i_rest // size


@triton.jit(do_not_specialize=FREE)
def expert_in_kernel(
    p_normal, p_scale, p_shift, p_weight, p_bias, p_product, p_hidden, B, D, H, p_seed, threshold, keep_scale,
    DROP: tl.constexpr, KEEP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """product = (normal * scale_e + shift_e) W_e, written with KEEP, and hidden = dropout(gelu(product + bias))."""
    i_m, i_n = tile(B, H, BLOCK_M, BLOCK_N)
    i_e = tl.program_id(1).to(tl.int64)
    o_m = i_m.to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    o_n = i_n * BLOCK_N + tl.arange(0, BLOCK_N)
    m_m, m_n = o_m < B, o_n < H
    b_x = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(0, D, BLOCK_K):
        o_k = first + tl.arange(0, BLOCK_K)
        m_k = o_k < D
        b_left = tl.load(p_normal + o_m[:, None] * D + o_k[None, :], mask=m_m[:, None] & m_k[None, :], other=0.0)
        b_scale = tl.load(p_scale + i_e * D + o_k, mask=m_k, other=0.0).to(tl.float32)
        b_shift = tl.load(p_shift + i_e * D + o_k, mask=m_k, other=0.0).to(tl.float32)
        b_left = b_left.to(tl.float32) * b_scale[None, :] + b_shift[None, :]
        b_right = tl.load(p_weight + (i_e * D + o_k)[:, None] * H + o_n[None, :], mask=m_k[:, None] & m_n[None, :], other=0.0)
        b_x = dot(b_left.to(p_weight.dtype.element_ty), b_right, b_x)
    o_row = i_e * B + o_m
    o_x = o_row[:, None] * H + o_n[None, :]
    m_x = m_m[:, None] & m_n[None, :]
    if KEEP:
        tl.store(p_product + o_x, b_x.to(p_product.dtype.element_ty), mask=m_x)
    b_x += tl.load(p_bias + i_e * H + o_n, mask=m_n, other=0.0).to(tl.float32)[None, :]
    b_y = drop(gelu(b_x), o_row, o_n, p_seed, threshold, keep_scale, DROP)
    tl.store(p_hidden + o_x, b_y.to(p_hidden.dtype.element_ty), mask=m_x)


@triton.jit(do_not_specialize=FREE)
def expert_in_gradient_kernel(
    p_grad, p_weight, p_product, p_bias, p_d_product, p_parts, B, H, p_seed, threshold, keep_scale,
    DROP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """grad V_e^T, back through dropout and GELU: the gradient of the product, and its sum over BLOCK_M rows for the bias."""
    i_m, i_n = tile(B, H, BLOCK_M, BLOCK_N)
    i_e = tl.program_id(1).to(tl.int64)
    o_m = i_m.to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    o_n = i_n * BLOCK_N + tl.arange(0, BLOCK_N)
    m_m, m_n = o_m < B, o_n < H
    o_row = i_e * B + o_m
    b_dx = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(0, H, BLOCK_K):
        o_k = first + tl.arange(0, BLOCK_K)
        m_k = o_k < H
        b_left = tl.load(p_grad + o_row[:, None] * H + o_k[None, :], mask=m_m[:, None] & m_k[None, :], other=0.0)
        b_right = tl.load(p_weight + (i_e * H + o_n)[None, :] * H + o_k[:, None], mask=m_k[:, None] & m_n[None, :], other=0.0)
        b_dx = dot(b_left, b_right, b_dx)
    o_x = o_row[:, None] * H + o_n[None, :]
    m_x = m_m[:, None] & m_n[None, :]
    b_x = tl.load(p_product + o_x, mask=m_x, other=0.0).to(tl.float32)
    b_x += tl.load(p_bias + i_e * H + o_n, mask=m_n, other=0.0).to(tl.float32)[None, :]
    b_dx = drop(b_dx, o_row, o_n, p_seed, threshold, keep_scale, DROP) * gelu_slope(b_x)
    tl.store(p_d_product + o_x, b_dx.to(p_d_product.dtype.element_ty), mask=m_x)
    tl.store(p_parts + (i_m * tl.num_programs(1) + i_e) * H + o_n, tl.sum(b_dx, 0), mask=m_n)


@triton.jit
def expert_in_weight_kernel(
    p_normal, p_d_product, p_weight, p_scale, p_shift, p_d_bias, p_d_weight, p_parts, B, D, H,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """G = normal^T dproduct_e; scale_e G + shift_e dbias_e; parts (2, tiles of H, E, D) of the gradients of scale and shift."""
    i_m, i_n = tile(D, H, BLOCK_M, BLOCK_N)
    i_e = tl.program_id(1).to(tl.int64)
    o_m = i_m * BLOCK_M + tl.arange(0, BLOCK_M)
    o_n = i_n * BLOCK_N + tl.arange(0, BLOCK_N)
    m_m, m_n = o_m < D, o_n < H
    b_g = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(0, B, BLOCK_K):
        o_k = first + tl.arange(0, BLOCK_K).to(tl.int64)
        m_k = o_k < B
        b_left = tl.load(p_normal + o_k[None, :] * D + o_m[:, None], mask=m_m[:, None] & m_k[None, :], other=0.0)
        b_right = tl.load(
            p_d_product + (i_e * B + o_k)[:, None] * H + o_n[None, :], mask=m_k[:, None] & m_n[None, :], other=0.0
        )
        b_g = dot(b_left.to(p_weight.dtype.element_ty), b_right, b_g)
    o_row = i_e * D + o_m
    o_w = o_row[:, None] * H + o_n[None, :]
    m_w = m_m[:, None] & m_n[None, :]
    b_w = tl.load(p_weight + o_w, mask=m_w, other=0.0).to(tl.float32)
    b_db = tl.load(p_d_bias + i_e * H + o_n, mask=m_n, other=0.0)
    b_scale = tl.load(p_scale + o_row, mask=m_m, other=0.0).to(tl.float32)
    b_shift = tl.load(p_shift + o_row, mask=m_m, other=0.0).to(tl.float32)
    b_dw = b_scale[:, None] * b_g + b_shift[:, None] * b_db[None, :]
    tl.store(p_d_weight + o_w, b_dw.to(p_d_weight.dtype.element_ty), mask=m_w)
    p_part = p_parts + (i_n * tl.num_programs(1) + i_e) * D + o_m
    tl.store(p_part, tl.sum(b_w * b_g, 1), mask=m_m)
    p_part += tl.cdiv(H, BLOCK_N) * tl.num_programs(1).to(tl.int64) * D
    tl.store(p_part, tl.sum(b_w * b_db[None, :], 1), mask=m_m)
