"""Kernels are tested in Triton's interpreter on the CPU (test_interpreter.py), and a few at full size on a GPU (*_gpu.py)."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tarpon.models.ops.launch import INTERPRETED

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc):
    """A test that asks for `device` is one for the interpreter: "cpu" in a process that interprets kernels, left out of others.

    On a GPU each would compile kernels of its own for seconds; what only a GPU shows is in the files for it.
    """
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", [pytest.param("cpu", id="interpreter")] if INTERPRETED else [])


def pytest_collection_modifyitems(config, items):
    """Without the interpreter its tests are not skipped one by one: test_interpreter.py runs them."""
    if not INTERPRETED:
        left = [item for item in items if "device" in getattr(item, "fixturenames", ()) and item.path.parent == HERE]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


@pytest.fixture
def poisoned():
    """`torch.empty` is full of NaN (of the largest number, for whole numbers)."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.utils.deterministic.fill_uninitialized_memory = before[1]


class AbsentGPU:
    """As much of a Triton driver as compiling for a GPU that is not there takes."""

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return -1  # no device's cache of kernels

    def get_current_stream(self, device: int) -> int:
        return 0


@pytest.fixture
def compiled(monkeypatch):
    """A list that fills with kernels: a launch, on CPU tensors, compiles for sm_90 with its real arguments and runs nothing."""
    if INTERPRETED:
        pytest.skip("an interpreted process compiles nothing")
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    kernels, launch = [], JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        kernels.append(launch(self, *args, grid=grid, warmup=True, **options))

    monkeypatch.setattr(JITFunction, "run", compile_only)
    monkeypatch.setattr(driver, "_active", AbsentGPU())
    return kernels


def spread_out(tensor: Tensor) -> Tensor:
    """The same values with gaps between them and the axes in another order in memory."""
    wide = torch.full((*tensor.shape[::-1], 2), torch.nan, dtype=tensor.dtype, device=tensor.device)
    wide[..., 0] = tensor.detach().permute(*range(tensor.dim())[::-1])
    return wide[..., 0].permute(*range(tensor.dim())[::-1])


class Gaps(torch.autograd.Function):
    """The identity, whose gradient has gaps in memory."""

    @staticmethod
    def forward(ctx, values):
        return values.view_as(values)

    @staticmethod
    def backward(ctx, slope):
        return spread_out(slope)


@pytest.fixture
def spread() -> Callable[[Tensor], Tensor]:
    return spread_out


@pytest.fixture
def through_gaps() -> Callable:
    """Outputs as they are, their gradients with gaps in memory."""
    return lambda outputs: tuple(map(Gaps.apply, outputs)) if isinstance(outputs, tuple) else Gaps.apply(outputs)
