"""Triton kernels of the temporal block's gradients; letters and names as in `tcn/kernels.py`.

Sums over rows are written in parts, one a program, and added up afterwards in a fixed order: the same bits every time.
"""

import triton
import triton.language as tl

from tarpon.models.ops.maths_kernel import dot, gelu_slope
from tarpon.models.ops.tcn.kernels import FREE, clip_values, conv_sum, drop


@triton.jit
def affine_gradient(b_dy, b_normal, b_scale, b_shift, o_m, o_n, p_seed, threshold, keep_scale, DROP: tl.constexpr):
    """The gradient of what gelu is taken of: of the norm times its scale plus its shift."""
    b_dy = drop(b_dy, o_m, o_n, p_seed, threshold, keep_scale, DROP)
    return b_dy * gelu_slope(b_normal * b_scale[None, :] + b_shift[None, :])


@triton.jit(do_not_specialize=FREE)
def clip_gradient_kernel(
    p_dy, p_h, p_valid, p_scale, p_shift, p_mean, p_rstd, p_count, p_sums,
    frames, p_seed, threshold, keep_scale, H, WIDTH,
    DROP: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Norm "clip": the means (2, B, G), over a clip and group, of the normal values' gradient and of it times them."""
    i_clip, i_group = tl.program_id(0), tl.program_id(1)
    i_out = i_clip * tl.num_programs(1) + i_group
    o_n = i_group * WIDTH + tl.arange(0, BLOCK_N)
    m_n = tl.arange(0, BLOCK_N) < WIDTH
    mean, rstd = tl.load(p_mean + i_out), tl.load(p_rstd + i_out)
    b_scale = tl.load(p_scale + o_n, mask=m_n, other=0.0).to(tl.float32)
    b_shift = tl.load(p_shift + o_n, mask=m_n, other=0.0).to(tl.float32)
    b_plain = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    b_times = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    for first in range(0, frames, BLOCK_T):
        o_t = first + tl.arange(0, BLOCK_T)
        o_m = i_clip * frames + o_t
        o_y = o_m.to(tl.int64)[:, None] * H + o_n[None, :]
        m_t = tl.load(p_valid + o_m, mask=o_t < frames, other=0) != 0
        m_y = m_t[:, None] & m_n[None, :]
        b_normal = tl.where(m_y, (tl.load(p_h + o_y, mask=m_y, other=0.0).to(tl.float32) - mean) * rstd, 0.0)
        b_dy = tl.load(p_dy + o_y, mask=m_y, other=0.0).to(tl.float32)
        b_da = affine_gradient(b_dy, b_normal, b_scale, b_shift, o_m, o_n, p_seed, threshold, keep_scale, DROP)
        b_plain += b_da * b_scale[None, :]
        b_times += b_da * b_scale[None, :] * b_normal
    count = tl.load(p_count + i_clip)
    tl.store(p_sums + i_out, tl.sum(tl.sum(b_plain, 1), 0) / count)
    groups = tl.num_programs(0) * tl.num_programs(1)
    tl.store(p_sums + groups + i_out, tl.sum(tl.sum(b_times, 1), 0) / count)


@triton.jit(do_not_specialize=FREE)
def norm_gradient_kernel(
    p_dy, p_h, p_valid, p_scale, p_shift, p_mean, p_rstd, p_sums, p_dh, p_dskip, p_parts,
    rows, frames, p_seed, threshold, keep_scale, H, WIDTH, all_groups,
    CLIP: tl.constexpr, GROUPS: tl.constexpr, DROP: tl.constexpr, PROJECT: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The gradient of h (M, H); with PROJECT that of the trunk (M, H), for the products to come; and a program's part
    (4, H) of those of scale, shift, bias and projection's bias. A program takes every so-manieth block of rows."""
    o_n = tl.arange(0, BLOCK_N)
    m_n = o_n < H
    b_scale = tl.load(p_scale + o_n, mask=m_n, other=0.0).to(tl.float32)
    b_shift = tl.load(p_shift + o_n, mask=m_n, other=0.0).to(tl.float32)
    b_dscale = tl.zeros((BLOCK_N,), tl.float32)
    b_dshift = tl.zeros((BLOCK_N,), tl.float32)
    b_dbias = tl.zeros((BLOCK_N,), tl.float32)
    b_dtrunk = tl.zeros((BLOCK_N,), tl.float32)
    for i_block in range(tl.program_id(0), tl.cdiv(rows, BLOCK_M), tl.num_programs(0)):
        o_m = i_block * BLOCK_M + tl.arange(0, BLOCK_M)
        m_m = o_m < rows
        m_m = m_m & (tl.load(p_valid + o_m, mask=m_m, other=0) != 0)  # rows that are not valid have no gradient
        m_y = m_m[:, None] & m_n[None, :]
        o_y = o_m.to(tl.int64)[:, None] * H + o_n[None, :]
        b_dy = tl.load(p_dy + o_y, mask=m_y, other=0.0).to(tl.float32)
        b_h = tl.load(p_h + o_y, mask=m_y, other=0.0).to(tl.float32)
        if CLIP:
            b_rstd = clip_values(p_rstd, o_m, m_m, o_n, m_n, frames, WIDTH, GROUPS)
            b_normal = (b_h - clip_values(p_mean, o_m, m_m, o_n, m_n, frames, WIDTH, GROUPS)) * b_rstd
        else:
            b_rstd = tl.load(p_rstd + o_m, mask=m_m, other=0.0)[:, None]
            b_normal = (b_h - tl.load(p_mean + o_m, mask=m_m, other=0.0)[:, None]) * b_rstd
            b_normal = tl.where(m_y, b_normal, 0.0)
        b_da = affine_gradient(b_dy, b_normal, b_scale, b_shift, o_m, o_n, p_seed, threshold, keep_scale, DROP)
        b_dn = b_da * b_scale[None, :]
        if CLIP:
            b_plain = clip_values(p_sums, o_m, m_m, o_n, m_n, frames, WIDTH, GROUPS)
            b_times = clip_values(p_sums + all_groups, o_m, m_m, o_n, m_n, frames, WIDTH, GROUPS)
        else:
            b_plain = (tl.sum(b_dn, 1) / H)[:, None]
            b_times = (tl.sum(b_dn * b_normal, 1) / H)[:, None]
        b_dh = tl.where(m_y, b_rstd * (b_dn - b_plain - b_normal * b_times), 0.0)
        m_store = (o_m < rows)[:, None] & m_n[None, :]
        tl.store(p_dh + o_y, b_dh.to(p_dh.dtype.element_ty), mask=m_store)
        if PROJECT:
            tl.store(p_dskip + o_y, b_dy.to(p_dskip.dtype.element_ty), mask=m_store)
            b_dtrunk += tl.sum(b_dy, 0)
        b_dscale += tl.sum(b_da * b_normal, 0)
        b_dshift += tl.sum(b_da, 0)
        b_dbias += tl.sum(b_dh, 0)
    o_part = tl.program_id(0).to(tl.int64) * 4 * H + o_n
    tl.store(p_parts + o_part, b_dscale, mask=m_n)
    tl.store(p_parts + o_part + H, b_dshift, mask=m_n)
    tl.store(p_parts + o_part + 2 * H, b_dbias, mask=m_n)
    tl.store(p_parts + o_part + 3 * H, b_dtrunk, mask=m_n)


@triton.jit(do_not_specialize=FREE)
def input_gradient_kernel(
    p_dh, p_dy, p_valid, p_weight, p_project, p_dx, rows, frames, step, back, C, H,
    TAPS: tl.constexpr, PROJECT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """dx (M, C): dh through the taps, `step` and `back` with the opposite sign, and the trunk's gradient. With PROJECT
    `p_dy` is 0 already where frames are not valid."""
    tiles_n = tl.cdiv(C, BLOCK_N)
    o_m = tl.program_id(0) // tiles_n * BLOCK_M + tl.arange(0, BLOCK_M)
    o_n = tl.program_id(0) % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N)
    m_m, m_n = o_m < rows, o_n < C
    o_x = o_m.to(tl.int64)[:, None] * C + o_n[None, :]
    b_dx = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    b_dx = conv_sum(b_dx, p_dh, p_weight, o_m, m_m, o_n, m_n, frames, step, back, H, 1, C, TAPS * C, TAPS, BLOCK_K)
    if PROJECT:
        b_dx = conv_sum(b_dx, p_dy, p_project, o_m, m_m, o_n, m_n, frames, 0, 0, H, 1, 0, C, 1, BLOCK_K)
    else:
        m_valid = m_m & (tl.load(p_valid + o_m, mask=m_m, other=0) != 0)
        b_dx += tl.load(p_dy + o_x, mask=m_valid[:, None] & m_n[None, :], other=0.0).to(tl.float32)
    tl.store(p_dx + o_x, b_dx.to(p_dx.dtype.element_ty), mask=m_m[:, None] & m_n[None, :])


@triton.jit(do_not_specialize=FREE)
def weight_gradient_kernel(
    p_x, p_dh, p_dskip, p_parts, rows, frames, step, back, per_split, C, H,
    TAPS: tl.constexpr, PROJECT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Parts (splits, H, TAPS + PROJECT, C) of the gradient of the taps and, behind them, of the projection.

    A program makes one tile of one tap over `per_split` rows, a multiple of BLOCK_K.
    """
    ALL: tl.constexpr = TAPS + PROJECT
    tiles_n = tl.cdiv(C, BLOCK_N)
    i_tap = tl.program_id(0) // tiles_n % ALL
    o_n = tl.program_id(0) % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N)
    o_h = tl.program_id(0) // (tiles_n * ALL) * BLOCK_M + tl.arange(0, BLOCK_M)
    m_n, m_h = o_n < C, o_h < H
    move = i_tap * step - back
    p_left = p_dh
    # Two conditions, not one: the first is known when this is compiled, the second when it runs.
    if PROJECT:  # noqa: SIM102
        if i_tap == TAPS:
            p_left = p_dskip
            move = 0
    i_split = tl.program_id(1)
    b_sum = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(i_split * per_split, tl.minimum((i_split + 1) * per_split, rows), BLOCK_K):
        o_m = first + tl.arange(0, BLOCK_K)
        o_t = o_m % frames + move
        m_m = (o_m < rows) & (o_t >= 0) & (o_t < frames)
        b_x = tl.load(p_x + (o_m + move).to(tl.int64)[:, None] * C + o_n[None, :], mask=m_m[:, None] & m_n[None, :], other=0.0)
        o_left = o_m.to(tl.int64)[None, :] * H + o_h[:, None]
        b_left = tl.load(p_left + o_left, mask=m_m[None, :] & m_h[:, None], other=0.0)
        b_sum = dot(b_left, b_x, b_sum)
    o_part = ((i_split.to(tl.int64) * H + o_h[:, None]) * ALL + i_tap) * C + o_n[None, :]
    tl.store(p_parts + o_part, b_sum, mask=m_h[:, None] & m_n[None, :])
