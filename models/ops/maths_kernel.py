"""Pieces of arithmetic that kernels share."""

import triton
import triton.language as tl

from tarpon.models.ops.launch import INTERPRETED

WIDEN = tl.constexpr(INTERPRETED)


@triton.jit
def dot(b_left, b_right, b_sum):
    """b_sum + b_left @ b_right, added up in float32; float32 values are not shortened to tf32."""
    if WIDEN:  # the interpreter keeps bfloat16 as uint16 and would multiply the bit patterns
        b_left = b_left.to(tl.float32)
        b_right = b_right.to(tl.float32)
    return tl.dot(b_left, b_right, b_sum, input_precision="ieee")


@triton.jit
def gelu(x):
    """x times the normal distribution's share below x; float32."""
    return 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))


@triton.jit
def gelu_slope(x):
    """The derivative of gelu at x; float32."""
    return 0.5 * (1 + tl.erf(x * 0.7071067811865476)) + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
