"""Correctness of fused operations on this device, compared with float64 on the device itself, at default and odd shapes.

Needs PyTorch and Triton alone. On a CPU the same in small, in Triton's interpreter where TRITON_INTERPRET=1.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from triton.errors import TritonError

from tarpon.models.ops import OPS
from tarpon.models.ops.choices import WAYS, Choice, force_choice
from tarpon.models.ops.compare import compare
from tarpon.models.ops.launch import INTERPRETED
from tarpon.models.ops.spec import OpSpec, Shape
from tarpon.models.ops.tcn.tiles import can_one_pass

CHOSEN = "chosen"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One output or gradient of one operation at one shape."""

    op: str
    shape: Shape
    dtype: str
    way: str  # chosen, or the one that was asked for
    name: str  # "output 0", or the input that the gradient is of; "" where nothing came out
    discrepancy: float | None
    tolerance: float | None
    ok: bool
    error: str = ""


Case = tuple[OpSpec, Shape, torch.dtype, str]


def check(device: str, *, ops: Sequence[str] = tuple(OPS)) -> Iterator[Check]:
    """Every operation, a row for each output and gradient as soon as it is known; an error becomes a row.

    Args:
        device: "cuda" | "cpu".
        ops: names in OPS.
    """
    for spec, shape, dtype, way in cases(device, ops=ops):
        case = {"op": spec.name, "shape": shape, "dtype": str(dtype).removeprefix("torch."), "way": way}
        try:
            with nullcontext() if way == CHOSEN else force_choice(spec.name, Choice(way=way)):
                found = compare(spec, shape, dtype=dtype, device=device)
        except (RuntimeError, ValueError, TritonError) as error:
            line = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
            yield Check(**case, name="", discrepancy=None, tolerance=None, ok=False, error=line)
            if "CUDA error" in line and "out of memory" not in line:
                return  # the GPU answers nothing more to this process
            continue
        for one in found:
            yield Check(**case, name=one.name, discrepancy=one.discrepancy, tolerance=one.tolerance, ok=one.ok)


def cases(device: str, *, ops: Sequence[str] = tuple(OPS)) -> list[Case]:
    """What to check, most telling first: default shapes, odd shapes, the ways not chosen, the other dtypes."""
    specs = [OPS[name] for name in ops]
    if device == "cpu":
        # The interpreter cuts bfloat16 off instead of rounding it: in small only float32 says something of a kernel.
        found = [(spec, spec.small_shapes[1], torch.float32, CHOSEN) for spec in specs]
        return found + [
            (spec, spec.small_shapes[1], torch.float32, way) for spec in specs if INTERPRETED for way in other_ways(spec)
        ]
    found = [(spec, shape, torch.bfloat16, CHOSEN) for spec in specs for shape in spec.defaults]
    found += [(spec, shape, torch.bfloat16, CHOSEN) for spec in specs for shape in spec.small_shapes[:3]]
    found += [(spec, spec.shapes[0], torch.bfloat16, way) for spec in specs for way in other_ways(spec)]
    return found + [(spec, spec.small_shapes[1], dtype, CHOSEN) for dtype in (torch.float32, torch.float16) for spec in specs]


def other_ways(spec: OpSpec) -> list[str]:
    """The ways to ask for by name, at the operation's first shape."""
    ways = [way for way in WAYS.get(spec.name, ()) if way != "kernels"]
    hidden = spec.shapes[0][-1]
    return [way for way in ways if way != "one_pass" or can_one_pass(spec.name, hidden)]
