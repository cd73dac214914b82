"""Comparison of a fused operation with its reference in float64, on the same device: forward and every gradient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tarpon.models.ops.spec import OpSpec, Shape, find_leaves, measure_discrepancy, tolerance


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Discrepancy of one output or gradient from float64."""

    name: str  # "output 0", or the input that the gradient is of
    discrepancy: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.discrepancy <= self.tolerance


def run_with_gradients(function: Callable, given: Mapping[str, object], *, upstream_seed: int = 5) -> dict[str, Tensor]:
    """Outputs, and the gradients of all inputs that take one, by name; upstream gradients are drawn from a seed."""
    outputs = function(**given)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return collect_gradients(outputs, given, draw_upstream(outputs, seed=upstream_seed))


def collect_gradients(outputs: tuple[Tensor, ...], given: Mapping[str, object], slopes: list[Tensor]) -> dict[str, Tensor]:
    """Outputs, and gradients of the inputs that take one, by name; slopes: gradients of the outputs."""
    wanted = find_leaves(given)
    gradients = torch.autograd.grad(outputs, list(wanted.values()), slopes)
    return {f"output {i}": out.detach() for i, out in enumerate(outputs)} | dict(zip(wanted, gradients, strict=True))


def draw_upstream(outputs: tuple[Tensor, ...], *, seed: int = 5) -> list[Tensor]:
    """Gradients of the outputs, standard normal, in their dtypes."""
    draw = torch.Generator(outputs[0].device).manual_seed(seed)
    return [torch.randn(out.shape, generator=draw, device=out.device).to(out.dtype) for out in outputs]


def widen_inputs(given: Mapping[str, object]) -> dict[str, object]:
    """The same inputs in float64, on the same device."""
    wide = {name: value.detach().double().requires_grad_() for name, value in find_leaves(given).items()}
    return {**given, **wide}


def compare(spec: OpSpec, shape: Shape, *, dtype: torch.dtype, device: str, seed: int = 3) -> list[Deviation]:
    """Deviations of the operation's outputs and gradients at one shape."""
    given = spec.inputs(shape, dtype=dtype, device=device, seed=seed)
    return measure_deviations(spec.fused, spec.reference, given, limit=tolerance(dtype, spec.reduction(shape)))


def measure_deviations(fused: Callable, reference: Callable, given: Mapping[str, object], *, limit: float) -> list[Deviation]:
    """Deviations of the outputs and gradients on given inputs.

    Upstream gradients are drawn in the dtype of the fused outputs, so that both functions get the same numbers.
    """
    outputs = fused(**given)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    slopes = draw_upstream(outputs)
    got = collect_gradients(outputs, given, slopes)
    wide = widen_inputs(given)
    wanted = reference(**wide)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    want = collect_gradients(wanted, wide, [slope.to(out.dtype) for slope, out in zip(slopes, wanted, strict=True)])
    return [Deviation(name=name, discrepancy=measure_discrepancy(got[name], want[name]), tolerance=limit) for name in want]
