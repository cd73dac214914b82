"""The Triton twin of `dropout.keep_mask`, for kernels to call."""

import triton
import triton.language as tl


@triton.jit
def row_keys(i_row, p_seed):
    """Row numbers and the seed (1,) int64 in memory -> uint32 keys of the rows."""
    seed = tl.load(p_seed)
    return mix(mix(i_row.to(tl.uint32) ^ (seed & 0x7FFFFFFF).to(tl.uint32)) ^ (seed >> 31).to(tl.uint32))


@triton.jit
def keep(b_key, i_column, threshold):
    """Keys and column numbers, of shapes that broadcast -> where a value is kept."""
    return mix(b_key ^ (i_column.to(tl.uint32) * 0x9E3779B9)).to(tl.int32, bitcast=True) >= threshold


@triton.jit
def mix(x):
    """lowbias32 without its last step, of uint32 values."""
    x ^= x >> 16
    x *= 0x7FEB352D
    x ^= x >> 15
    return x * 0x846CA68B
