"""A fused operation beside its reference in float64, on the device that it runs on: forward and every gradient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tarpon.models.ops.spec import OpSpec, Shape, discrepancy, leaves, tolerance


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """How far one output or gradient is from float64."""

    name: str  # "output 0", or the input that the gradient is of
    discrepancy: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.discrepancy <= self.tolerance


def run(function: Callable, given: Mapping[str, object], *, upstream_seed: int = 5) -> dict[str, Tensor]:
    """Outputs, and the gradients of all that takes one for upstream gradients drawn from a seed in the outputs' dtype."""
    outputs = function(**given)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return values_and_gradients(outputs, given, upstream(outputs, seed=upstream_seed))


def values_and_gradients(outputs: tuple[Tensor, ...], given: Mapping[str, object], slopes: list[Tensor]) -> dict[str, Tensor]:
    wanted = leaves(given)
    gradients = torch.autograd.grad(outputs, list(wanted.values()), slopes)
    return {f"output {i}": out.detach() for i, out in enumerate(outputs)} | dict(zip(wanted, gradients, strict=True))


def upstream(outputs: tuple[Tensor, ...], *, seed: int = 5) -> list[Tensor]:
    """Gradients of the outputs, standard normal, in their dtypes."""
    draw = torch.Generator(outputs[0].device).manual_seed(seed)
    return [torch.randn(out.shape, generator=draw, device=out.device).to(out.dtype) for out in outputs]


def exact(given: Mapping[str, object]) -> dict[str, object]:
    """The same inputs in float64, on the same device."""
    wide = {name: value.detach().double().requires_grad_() for name, value in leaves(given).items()}
    return {**given, **wide}


def compare(spec: OpSpec, shape: Shape, *, dtype: torch.dtype, device: str, seed: int = 3) -> list[Deviation]:
    """The operation at one shape."""
    given = spec.inputs(shape, dtype=dtype, device=device, seed=seed)
    return deviations(spec.fused, spec.reference, given, limit=tolerance(dtype, spec.reduction(shape)))


def deviations(fused: Callable, reference: Callable, given: Mapping[str, object], *, limit: float) -> list[Deviation]:
    """Upstream gradients are drawn in the dtype of the fused outputs, so that both get the same numbers."""
    outputs = fused(**given)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    slopes = upstream(outputs)
    got = values_and_gradients(outputs, given, slopes)
    wide = exact(given)
    wanted = reference(**wide)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    want = values_and_gradients(wanted, wide, [slope.to(out.dtype) for slope, out in zip(slopes, wanted, strict=True)])
    return [Deviation(name=name, discrepancy=discrepancy(got[name], want[name]), tolerance=limit) for name in want]
