"""SHA-256 of named tensors and what is told beside them: a flipped bit in a file of weights is no weight."""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor


def checksum(tensors: Mapping[str, Tensor], meta: dict) -> str:
    """Of names, kinds, shapes and bytes, whatever their order, and of the JSON beside them.

    Args:
        tensors: on the CPU, contiguous.
    """
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
