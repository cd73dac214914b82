"""Weights of classes in a loss, from how often they occur."""

import torch
from torch import Tensor


def balanced_weights(counts: Tensor) -> Tensor:
    """Inverse-frequency class weights with mean 1 over the counted frames; classes that never occur get 0 and no say."""
    present = counts > 0
    return torch.where(present, counts.sum() / (counts.clamp(min=1) * present.sum()), torch.zeros_like(counts))
