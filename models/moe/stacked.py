"""Layers of the same size side by side: N norms or N linear layers as one tensor and one batched product.

N layers in a stack, B rows, I features in, O features out.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STD_MIN = 1e-6  # a feature that hardly varies in training is not blown up


class StackedLinear(nn.Module):
    """N linear layers: weight (N, I, O), bias (N, O), each drawn as `nn.Linear` draws its own.

    Inputs come first in the weight, unlike in `nn.Linear`: forward + backward of the layer 1024 -> 2048 of 4 experts at
    256 rows took 97 ms so and 118 ms with (N, O, I), on two CPU cores in float32.
    """

    def __init__(self, count: int, fan_in: int, fan_out: int) -> None:
        super().__init__()
        bound = fan_in**-0.5
        self.weight = nn.Parameter(torch.empty(count, fan_in, fan_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count, fan_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(N, B, I) -> (N, B, O)."""
        return stacked_linear(x, self.weight, self.bias)


class StackedNorm(nn.Module):
    """The affine parts of N layer norms: scale (N, I), shift (N, I)."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(count, dim))
        self.shift = nn.Parameter(torch.zeros(count, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, I), shared by all layers, or (N, B, I) -> (N, B, I); the statistics are computed once a row of x."""
        return stacked_affine(F.layer_norm(x, x.shape[-1:]), self.scale, self.shift)


class TaskOutputs(nn.Module):
    """The last linear layer of every task, whose widths differ: weight (sum of widths, I), bias (sum of widths,)."""

    def __init__(self, dim: int, outputs: Mapping[str, int]) -> None:
        super().__init__()
        self.outputs = dict(outputs)
        total, bound = sum(outputs.values()), dim**-0.5
        self.weight = nn.Parameter(torch.empty(total, dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(total).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, B, I), tasks in order -> task -> (B, width), at least float32."""
        # One product a task: padding all to the widest (463) and one batched product took 24 ms against 9 for outputs
        # 463/83/8/1 of 1024 at 256 rows, forward + backward on two CPU cores.
        widths = list(self.outputs.values())
        parts = zip(self.outputs, x, self.weight.split(widths), self.bias.split(widths), strict=True)
        return {task: promote_to_float32(F.linear(row, weight, bias)) for task, row, weight, bias in parts}


class Standardiser(nn.Module):
    """Standardisation of features, (x - mean) / std; the statistics are buffers, saved with the weights.

    The identity until `set` is called.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def set(self, mean: Tensor, std: Tensor) -> None:
        """mean, std: (D,) of the training rows. ValueError for another shape or values that are no numbers."""
        for name, value in (("mean", mean), ("std", std)):
            if value.shape != self.mean.shape or not torch.isfinite(value).all() or (name == "std" and (value < 0).any()):
                raise ValueError(
                    f"{name} of the features must be {tuple(self.mean.shape)}, finite{' and >= 0' * (name == 'std')}; "
                    f"got {tuple(value.shape)}; compute it on the training rows of this feature table"
                )
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=STD_MIN))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) of any float dtype -> (B, D) in the dtype of the buffers."""
        return (x.to(self.mean.dtype) - self.mean) / self.std


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(N, B, I), (N, I, O), (N, O) -> (N, B, O)."""
    return torch.baddbmm(bias[:, None], x, weight)


def stacked_affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(B, I) or (N, B, I), (N, I), (N, I) -> (N, B, I)."""
    return torch.addcmul(shift[:, None], x.to(scale.dtype), scale[:, None])


def promote_to_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
