"""Kernels are tested twice: in Triton's interpreter on the CPU (see test_interpreter.py) and, marked `gpu`, on a GPU."""

import pytest
import torch

from tarpon.models.ops.launch import INTERPRETED


def pytest_generate_tests(metafunc):
    """A test that asks for `device` is one for kernels: "cpu" in a process that interprets them, "cuda" in any other."""
    if "device" in metafunc.fixturenames:
        cuda = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])
        metafunc.parametrize("device", [pytest.param("cpu", id="interpreter")] if INTERPRETED else [cuda])


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
