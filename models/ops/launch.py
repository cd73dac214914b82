"""Where an operation runs: its kernel on CUDA and in Triton's interpreter, plain PyTorch elsewhere; and that GPU's limits."""

import os
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on")
"""Triton reads this once, when it is imported; a whole process is interpreted or none of it."""


def runs_kernel(x: Tensor) -> bool:
    """Whether an operation on `x` takes the kernel. The device alone decides; the interpreter, for tests, makes the CPU one."""
    return x.is_cuda or INTERPRETED


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a GPU that tiles and grids depend on."""

    processors: int  # streaming multiprocessors
    shared_bytes: int  # shared memory that one program may have


ASSUMED = Limits(processors=132, shared_bytes=227 * 2**10)
"""An H100 (sm_90): for CPU tensors only, that is for the interpreter and for compiling without a GPU."""


def find_limits(device: torch.device) -> Limits:
    """Limits of a GPU, from its driver, without synchronising it; ASSUMED for a CPU."""
    if device.type != "cuda":
        return ASSUMED
    return _read_limits(torch.cuda.current_device() if device.index is None else device.index)


@cache
def _read_limits(index: int) -> Limits:
    found = torch.cuda.get_device_properties(index)
    return Limits(processors=found.multi_processor_count, shared_bytes=found.shared_memory_per_block_optin)


@cache
def device_name(device: torch.device) -> str:
    """As torch.cuda says it; "cpu" without a GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def next_power(number: int) -> int:
    """The smallest power of 2 that is at least `number`, itself at least 1."""
    return 1 << (number - 1).bit_length()


def cdiv(number: int, block: int) -> int:
    """Blocks of `block` that hold `number`."""
    return -(-number // block)
