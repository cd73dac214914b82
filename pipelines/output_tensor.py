"""What DALI delivers, as a torch tensor."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

PINNED = 3  # kDLCUDAHost of DLPack: page-locked host memory


class DaliTensor(Protocol):
    """The used methods of DALI's TensorCPU and TensorGPU."""

    def __dlpack_device__(self) -> tuple[int, int]: ...


def to_torch(tensor: DaliTensor) -> Tensor:
    """A tensor of the same memory, on its device.

    Of page-locked host memory a copy: with a GPU DALI may deliver row numbers and the like in it, and torch takes no such
    memory by DLPack ("Unsupported device_type: 3").
    """
    if int(tensor.__dlpack_device__()[0]) == PINNED:
        return torch.from_numpy(np.array(tensor))
    return torch.from_dlpack(tensor)
