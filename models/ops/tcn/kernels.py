"""Triton kernels of the temporal block; `tcn/launch.py` starts them.

M rows, the frames of all clips one after the other; C channels in, H channels out; TAPS taps. Everything is contiguous.
A "branch" is what the block adds to the trunk, h the convolution with its bias.
In kernels: p_ pointer, b_ block of values, o_ offsets, m_ mask, i_ index. Row numbers are 32-bit, addresses 64-bit.
"""

import triton
import triton.language as tl

from tarpon.models.ops.dropout_kernel import keep, row_keys
from tarpon.models.ops.maths_kernel import dot, gelu

# Numbers that change from batch to batch: a kernel compiled for "divisible by 16" and one for not would gain nothing.
FREE = ["rows", "frames", "step", "back", "threshold", "per_split", "all_groups"]


@triton.jit
def conv_sum(
    b_sum, p_x, p_weight, o_m, m_m, o_n, m_n, frames, step, back, K,
    stride_n, stride_tap, stride_k, TAPS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """b_sum + the product over taps and K channels of x (M, K), `tap * step - back` rows on within the clip, and the taps.

    One loop over both, so that loads run ahead from one tap into the next.
    """
    o_t = o_m % frames
    chunks = tl.cdiv(K, BLOCK_K)
    for i in range(TAPS * chunks):
        i_tap = i // chunks
        o_k = (i - i_tap * chunks) * BLOCK_K + tl.arange(0, BLOCK_K)
        m_k = o_k < K
        move = i_tap * step - back
        m_x = m_m & (o_t + move >= 0) & (o_t + move < frames)
        b_x = tl.load(p_x + (o_m + move).to(tl.int64)[:, None] * K + o_k[None, :], mask=m_x[:, None] & m_k[None, :], other=0.0)
        o_w = o_n.to(tl.int64)[None, :] * stride_n + i_tap * stride_tap + o_k[:, None] * stride_k
        b_w = tl.load(p_weight + o_w, mask=m_k[:, None] & m_n[None, :], other=0.0)
        b_sum = dot(b_x, b_w, b_sum)
    return b_sum


@triton.jit
def drop(b_values, o_m, o_n, p_seed, threshold, keep_scale, DROP: tl.constexpr):
    """Dropout of a block of rows and columns."""
    if DROP:
        b_kept = keep(row_keys(o_m, p_seed)[:, None], o_n[None, :], threshold)
        b_values = tl.where(b_kept, b_values * keep_scale, 0.0)
    return b_values


@triton.jit
def frame_statistics(b_h, m_n, H, eps):
    """Rows of h -> their mean and 1 / standard deviation."""
    b_mean = tl.sum(tl.where(m_n[None, :], b_h, 0.0), 1) / H
    b_centred = tl.where(m_n[None, :], b_h - b_mean[:, None], 0.0)
    return b_mean, 1 / tl.sqrt(tl.sum(b_centred * b_centred, 1) / H + eps)


@triton.jit(do_not_specialize=FREE)
def block_kernel(
    p_x, p_valid, p_weight, p_bias, p_scale, p_shift, p_project, p_project_bias, p_y, p_h, p_mean, p_rstd,
    rows, frames, step, back, p_seed, threshold, keep_scale, eps, C, H,
    TAPS: tl.constexpr, PROJECT: tl.constexpr, DROP: tl.constexpr, SAVE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The whole block in one pass, norm "frame": a program has all H channels of BLOCK_M rows."""
    o_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    o_n = tl.arange(0, BLOCK_N)
    m_m, m_n = o_m < rows, o_n < H
    m_y = m_m[:, None] & m_n[None, :]
    o_y = o_m.to(tl.int64)[:, None] * H + o_n[None, :]
    b_h = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    b_h = conv_sum(b_h, p_x, p_weight, o_m, m_m, o_n, m_n, frames, step, back, C, TAPS * C, C, 1, TAPS, BLOCK_K)
    b_h += tl.load(p_bias + o_n, mask=m_n, other=0.0).to(tl.float32)[None, :]
    b_mean, b_rstd = frame_statistics(b_h, m_n, H, eps)
    if SAVE:
        tl.store(p_h + o_y, b_h.to(p_h.dtype.element_ty), mask=m_y)
        tl.store(p_mean + o_m, b_mean, mask=m_m)
        tl.store(p_rstd + o_m, b_rstd, mask=m_m)
    b_scale = tl.load(p_scale + o_n, mask=m_n, other=0.0).to(tl.float32)
    b_shift = tl.load(p_shift + o_n, mask=m_n, other=0.0).to(tl.float32)
    b_y = gelu((b_h - b_mean[:, None]) * b_rstd[:, None] * b_scale[None, :] + b_shift[None, :])
    b_y = drop(b_y, o_m, o_n, p_seed, threshold, keep_scale, DROP)
    if PROJECT:  # on top of the branch: no second block of sums to keep
        b_y = conv_sum(b_y, p_x, p_project, o_m, m_m, o_n, m_n, frames, 0, 0, C, C, 0, 1, 1, BLOCK_K)
        b_y += tl.load(p_project_bias + o_n, mask=m_n, other=0.0).to(tl.float32)[None, :]
    else:
        b_y += tl.load(p_x + o_y, mask=m_y, other=0.0).to(tl.float32)
    b_valid = tl.load(p_valid + o_m, mask=m_m, other=0) != 0
    tl.store(p_y + o_y, tl.where(b_valid[:, None], b_y, 0.0).to(p_y.dtype.element_ty), mask=m_y)


@triton.jit(do_not_specialize=FREE)
def conv_kernel(
    p_x, p_weight, p_bias, p_h, rows, frames, step, back, C, H,
    TAPS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """h (M, H); with one tap the projection. A program makes one tile; neighbouring programs share the rows of x."""
    tiles_n = tl.cdiv(H, BLOCK_N)
    o_m = tl.program_id(0) // tiles_n * BLOCK_M + tl.arange(0, BLOCK_M)
    o_n = tl.program_id(0) % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N)
    m_m, m_n = o_m < rows, o_n < H
    b_h = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    b_h = conv_sum(b_h, p_x, p_weight, o_m, m_m, o_n, m_n, frames, step, back, C, TAPS * C, C, 1, TAPS, BLOCK_K)
    b_h += tl.load(p_bias + o_n, mask=m_n, other=0.0).to(tl.float32)[None, :]
    o_h = o_m.to(tl.int64)[:, None] * H + o_n[None, :]
    tl.store(p_h + o_h, b_h.to(p_h.dtype.element_ty), mask=m_m[:, None] & m_n[None, :])


@triton.jit(do_not_specialize=FREE)
def clip_kernel(
    p_h, p_valid, p_mean, p_rstd, p_count, frames, eps, H, WIDTH,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Norm "clip": mean and 1 / standard deviation of the WIDTH channels of a group over the valid frames of a clip (B, G),
    and the number of values they are of (B,), at least WIDTH. One program a clip and group; squares of centred values."""
    i_clip, i_group = tl.program_id(0), tl.program_id(1)
    o_n = i_group * WIDTH + tl.arange(0, BLOCK_N)
    m_n = tl.arange(0, BLOCK_N) < WIDTH
    b_sum = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    b_count = tl.zeros((BLOCK_T,), tl.float32)
    for first in range(0, frames, BLOCK_T):
        o_t = first + tl.arange(0, BLOCK_T)
        o_m = i_clip.to(tl.int64) * frames + o_t
        m_t = tl.load(p_valid + o_m, mask=o_t < frames, other=0) != 0
        b_sum += tl.load(p_h + o_m[:, None] * H + o_n[None, :], mask=m_t[:, None] & m_n[None, :], other=0.0).to(tl.float32)
        b_count += m_t.to(tl.float32)
    count = tl.maximum(tl.sum(b_count, 0), 1.0) * WIDTH
    mean = tl.sum(tl.sum(b_sum, 1), 0) / count
    b_sum = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    for first in range(0, frames, BLOCK_T):
        o_t = first + tl.arange(0, BLOCK_T)
        o_m = i_clip.to(tl.int64) * frames + o_t
        m_t = tl.load(p_valid + o_m, mask=o_t < frames, other=0) != 0
        m_h = m_t[:, None] & m_n[None, :]
        b_h = tl.load(p_h + o_m[:, None] * H + o_n[None, :], mask=m_h, other=0.0).to(tl.float32)
        b_sum += tl.where(m_h, (b_h - mean) * (b_h - mean), 0.0)
    variance = tl.sum(tl.sum(b_sum, 1), 0) / count
    i_out = i_clip * tl.num_programs(1) + i_group
    tl.store(p_mean + i_out, mean)
    tl.store(p_rstd + i_out, 1 / tl.sqrt(variance + eps))
    tl.store(p_count + i_clip, count)


@triton.jit
def clip_values(p_values, o_m, m_m, o_n, m_n, frames, WIDTH, GROUPS: tl.constexpr):
    """A block (rows, channels) of the values (B, GROUPS) of the rows' clips and the channels' groups."""
    o_values = (o_m // frames)[:, None] * GROUPS + (o_n // WIDTH)[None, :]
    return tl.load(p_values + o_values, mask=m_m[:, None] & m_n[None, :], other=0.0)


@triton.jit(do_not_specialize=FREE)
def apply_kernel(
    p_h, p_skip, p_valid, p_scale, p_shift, p_mean, p_rstd, p_y,
    rows, frames, p_seed, threshold, keep_scale, eps, H, WIDTH,
    CLIP: tl.constexpr, GROUPS: tl.constexpr, DROP: tl.constexpr, SAVE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """skip + dropout(gelu(norm(h))) on valid frames: the second pass. Norm "frame" makes the statistics, "clip" reads them."""
    o_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    o_n = tl.arange(0, BLOCK_N)
    m_m, m_n = o_m < rows, o_n < H
    m_y = m_m[:, None] & m_n[None, :]
    o_y = o_m.to(tl.int64)[:, None] * H + o_n[None, :]
    b_h = tl.load(p_h + o_y, mask=m_y, other=0.0).to(tl.float32)
    if CLIP:
        b_mean = clip_values(p_mean, o_m, m_m, o_n, m_n, frames, WIDTH, GROUPS)
        b_normal = (b_h - b_mean) * clip_values(p_rstd, o_m, m_m, o_n, m_n, frames, WIDTH, GROUPS)
    else:
        b_mean, b_rstd = frame_statistics(b_h, m_n, H, eps)
        b_normal = (b_h - b_mean[:, None]) * b_rstd[:, None]
        if SAVE:
            tl.store(p_mean + o_m, b_mean, mask=m_m)
            tl.store(p_rstd + o_m, b_rstd, mask=m_m)
    b_scale = tl.load(p_scale + o_n, mask=m_n, other=0.0).to(tl.float32)
    b_shift = tl.load(p_shift + o_n, mask=m_n, other=0.0).to(tl.float32)
    b_y = gelu(b_normal * b_scale[None, :] + b_shift[None, :])
    b_y = drop(b_y, o_m, o_n, p_seed, threshold, keep_scale, DROP)
    b_y += tl.load(p_skip + o_y, mask=m_y, other=0.0).to(tl.float32)
    b_valid = tl.load(p_valid + o_m, mask=m_m, other=0) != 0
    tl.store(p_y + o_y, tl.where(b_valid[:, None], b_y, 0.0).to(p_y.dtype.element_ty), mask=m_y)
