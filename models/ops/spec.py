"""What the tests and `tarpon bench ops` know of a fused operation: one record each.

A shape is a tuple of whole numbers, one for each of the record's letters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
"""Largest `discrepancy` from float64 of any forward value and any gradient, for the whole project."""

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class OpSpec:
    """A fused operation, the plain PyTorch it must equal, and the shapes that both are tried on.

    `fused` and `reference` take the dict that `inputs` makes as keyword arguments and return a tensor or a tuple of them.
    Given the same inputs, seeds of dropout included, they agree.
    """

    name: str
    letters: str  # what the numbers of a shape are: "BTC"
    fused: Callable[..., Tensor | tuple[Tensor, ...]]
    reference: Callable[..., Tensor | tuple[Tensor, ...]]
    inputs: Callable[..., dict[str, object]]  # (shape, *, dtype, device, seed); what takes a gradient requires it
    shapes: tuple[Shape, ...]  # to time, and to test on a GPU
    small_shapes: tuple[Shape, ...]  # to test in the interpreter
    defaults: tuple[Shape, ...]  # to time where not all are, and at which the aims are judged
    moved_bytes: Callable[..., int]  # (shape, dtype, *, backward=False): least read and written, of the forward or the backward
    operations: Callable[..., int]  # (shape, *, backward=False): multiplications and additions, of the forward or the backward
    rivals: Mapping[str, Callable[..., object]] = field(default_factory=dict)  # name -> another way, timed but not compared

    def __post_init__(self) -> None:
        for shape in (*self.shapes, *self.small_shapes, *self.defaults):
            if len(shape) != len(self.letters) or min(shape) < 1:
                raise ValueError(f"{self.name}: shape {shape} must be one number of at least 1 for each of {self.letters}")
        if not self.defaults or not set(self.defaults) <= set(self.shapes):
            raise ValueError(f"{self.name}: defaults {self.defaults} must be some of its shapes {self.shapes}")


def discrepancy(got: Tensor, want: Tensor) -> float:
    """Largest error of an element relative to its own size plus the root mean square of all; NaN in `got` gives infinity.

    The second term is for elements that are small because large ones cancelled.
    """
    if got.shape != want.shape:
        raise ValueError(f"shapes {tuple(got.shape)} and {tuple(want.shape)} differ")
    if not want.numel():
        return 0.0
    want = want.detach().double().cpu()
    error = (got.detach().double().cpu() - want).abs()
    size = want.abs() + want.square().mean().sqrt()
    return float(torch.where(error == 0, error, error / size).nan_to_num(nan=float("inf"), posinf=float("inf")).max())
