"""Where an operation runs: its kernel on CUDA and in Triton's interpreter, plain PyTorch elsewhere."""

import os

from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on")
"""Triton reads this once, when it is imported; a whole process is interpreted or none of it."""


def runs_kernel(x: Tensor) -> bool:
    """Whether an operation on `x` takes the kernel. The device alone decides; the interpreter, for tests, makes the CPU one."""
    return x.is_cuda or INTERPRETED


def next_power(number: int) -> int:
    """The smallest power of 2 that is at least `number`, itself at least 1."""
    return 1 << (number - 1).bit_length()


def cdiv(number: int, block: int) -> int:
    """Blocks of `block` that hold `number`."""
    return -(-number // block)
