"""DALI's tensors become torch's without a copy; those in page-locked memory, which torch refuses, with one."""

import numpy as np
import pytest
import torch

from tarpon.pipelines.output_tensor import to_torch


class Pinned:
    """Host memory that says of itself what DALI's page-locked tensors say."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __dlpack_device__(self) -> tuple[int, int]:
        return 3, 0

    def __dlpack__(self, **_: object) -> object:
        raise BufferError("Unsupported device_type: 3")

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self._values.copy() if copy else self._values


def test_page_locked_memory_is_copied():
    values = np.array([5, -1, 7])
    with pytest.raises(BufferError, match="device_type: 3"):
        torch.from_dlpack(Pinned(values))
    made = to_torch(Pinned(values))
    values[:] = 0
    assert made.dtype == torch.int64
    assert made.tolist() == [5, -1, 7]


@pytest.mark.parametrize("values", [np.arange(6.0).reshape(2, 3), np.array([True, False]), np.array([-1, 3])])
def test_other_memory_is_shared_and_both_ways_give_the_same(values):
    import nvidia.dali.fn  # noqa: F401  (loads the library whole)
    from nvidia.dali.backend import TensorCPU

    tensor = TensorCPU(values)
    made = to_torch(tensor)
    assert made.data_ptr() == values.ctypes.data
    assert torch.equal(made, torch.from_numpy(np.array(tensor)))
