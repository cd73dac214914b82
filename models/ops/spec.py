"""The record of a fused operation that its tests and `tarpon bench ops` share.

A shape is a tuple of whole numbers, one for each of the record's letters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ROUNDINGS = 8  # spacings of the dtype: a value is rounded some times on its way, and the worst of millions is looked at
SUMMING = 8  # float32 spacings for each square root of the length of a sum: its roundings add up like a random walk

Shape = tuple[int, ...]


def tolerance(dtype: torch.dtype, length: int) -> float:
    """Largest `measure_discrepancy` from float64 that any forward value or gradient may have, for the whole project.

    Values and gradients are kept in `dtype`, sums are made in float32. bfloat16: 0.031 at a length of 1, 0.031 at 28,800;
    float16: 0.0078, 0.0080; float32: 1.9e-6, 1.6e-4.

    Args:
        length: terms of the operation's longest sum (`OpSpec.reduction`).
    """
    if dtype not in DTYPES or length < 1:
        raise ValueError(f"dtype={dtype} must be float32, bfloat16 or float16 and length={length} at least 1")
    return ROUNDINGS * torch.finfo(dtype).eps + SUMMING * torch.finfo(torch.float32).eps * length**0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Another implementation of an operation with its arguments: timed, not compared."""

    function: Callable[..., Tensor | tuple[Tensor, ...]]
    arguments: dict[str, object]
    leaves: list[Tensor]  # what takes a gradient

    @classmethod
    def of(cls, function: Callable, arguments: dict[str, object]) -> "Baseline":
        return cls(function=function, arguments=arguments, leaves=list(find_leaves(arguments).values()))


@dataclass(frozen=True, kw_only=True)
class OpSpec:
    """A fused operation, its plain PyTorch reference, and the shapes that both are tested and timed on.

    `fused` and `reference` take the dict that `inputs` makes as keyword arguments and return a tensor or a tuple of them.
    Given the same inputs, seeds of dropout included, they agree; with the seed None the reference's dropout is PyTorch's.
    """

    name: str
    letters: str  # what the numbers of a shape are: "BTC"
    fused: Callable[..., Tensor | tuple[Tensor, ...]]
    reference: Callable[..., Tensor | tuple[Tensor, ...]]
    inputs: Callable[..., dict[str, object]]  # (shape, *, dtype, device, seed); what takes a gradient requires it
    shapes: tuple[Shape, ...]  # to time
    small_shapes: tuple[Shape, ...]  # odd ones, to test
    defaults: tuple[Shape, ...]  # to time first, or alone
    reduction: Callable[[Shape], int]  # terms of the longest sum, of the forward or a gradient
    moved_bytes: Callable[..., int]  # (shape, dtype, *, backward=False): least read and written, of the forward or the backward
    operations: Callable[..., int]  # (shape, *, backward=False): multiplications and additions, of the forward or the backward
    baselines: Mapping[str, Callable[[dict[str, object]], Baseline]] = field(default_factory=dict)  # name -> from inputs
    aims: Mapping[Shape, Mapping[str, float]] = field(default_factory=dict)  # shape -> way -> least speed-up over it

    def __post_init__(self) -> None:
        for shape in (*self.shapes, *self.small_shapes, *self.defaults):
            if len(shape) != len(self.letters) or min(shape) < 1:
                raise ValueError(f"{self.name}: shape {shape} must be one number of at least 1 for each of {self.letters}")
        if not self.defaults or not {*self.defaults, *self.aims} <= set(self.shapes):
            raise ValueError(f"{self.name}: defaults {self.defaults} and aims must be some of its shapes {self.shapes}")


def make_normal_sampler(seed: int, device: torch.device | str) -> Callable[..., Tensor]:
    """(*size) -> float32 values of the standard normal distribution, made on the device."""
    return partial(torch.randn, generator=torch.Generator(device).manual_seed(seed), device=device)


def find_leaves(given: Mapping[str, object]) -> dict[str, Tensor]:
    """The inputs that take a gradient."""
    return {name: value for name, value in given.items() if isinstance(value, Tensor) and value.requires_grad}


def measure_discrepancy(got: Tensor, want: Tensor) -> float:
    """Largest error of an element relative to its own size plus the root mean square of all; NaN in `got` gives infinity.

    The second term is for elements that are small because large ones cancelled. Computed where the tensors are, in float64;
    one number goes to the host.
    """
    if got.shape != want.shape:
        raise ValueError(f"shapes {tuple(got.shape)} and {tuple(want.shape)} differ")
    if not want.numel():
        return 0.0
    want = want.detach().double()
    error = (got.detach().to(want) - want).abs_()
    size = want.abs() + want.square().mean().sqrt()
    return float(torch.where(error == 0, error, error / size).nan_to_num_(nan=float("inf"), posinf=float("inf")).max())
