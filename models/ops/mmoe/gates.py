"""The gates of all tasks in one go: gate_k = softmax((norm_k(x) U_k + d_k) / temperature).

B rows, D features, E experts, K tasks. Norms of the tasks differ only in their affine part, which goes into the weights.
"""

import torch
from torch import Tensor

from tarpon.models.moe.stacked import promote_to_float32
from tarpon.models.ops.launch import runs_kernel
from tarpon.models.ops.mmoe.mix import check_counts, check_dtypes
from tarpon.models.ops.spec import OpSpec, Shape, make_normal_sampler

TEMPERATURE_MIN = 1e-6


def gates_reference(
    normal: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor, *, temperature: float
) -> Tensor:
    """As `gates`, in plain PyTorch; any floating dtype."""
    folded = (scale[..., None] * weight).permute(1, 0, 2).flatten(1)  # (D, K*E)
    offset = bias + (shift[..., None] * weight).sum(1)
    scores = promote_to_float32(torch.addmm(offset.flatten(), normal.to(folded.dtype), folded))
    return (scores / max(temperature, TEMPERATURE_MIN)).unflatten(1, bias.shape).softmax(-1)


def gates(normal: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Each task's weights over the experts.

    Args:
        normal: (B, D) rows after a layer norm without affine part.
        scale, shift: (K, D) of the gates' norms; 1 <= K <= 16.
        weight, bias: (K, D, E), (K, E) of the gates; 1 <= E <= 64. The product runs in the weight's dtype.
        temperature: scores are divided by it; above 1 evens the gates out.

    Returns:
        (B, K, E), at least float32; sums to 1 over E.

    Raises:
        ValueError: a shape, a number of experts or tasks, or on CUDA a dtype that it does not serve.
    """
    check_gates(normal, scale, shift, weight, bias)
    if not runs_kernel(normal):
        return gates_reference(normal, scale, shift, weight, bias, temperature=temperature)
    check_dtypes("mmoe_gates", normal, scale, shift, weight, bias)
    return _gates(normal, scale, shift, weight, bias, 1 / max(temperature, TEMPERATURE_MIN))


def check_gates(normal: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Raises ValueError unless shapes fit together."""
    K, D, E = weight.shape if weight.dim() == 3 else (0, 0, 0)
    if not K or normal.dim() != 2 or normal.shape[1] != D or not scale.shape == shift.shape == (K, D) or bias.shape != (K, E):
        shapes = ", ".join(str(tuple(t.shape)) for t in (normal, scale, shift, weight, bias))
        raise ValueError(
            f"mmoe_gates wants normal (B, D), scale and shift (K, D), weight (K, D, E) and bias (K, E); got {shapes}"
        )
    check_counts(experts=E, tasks=K)


@torch.library.custom_op("tarpon::mmoe_gates", mutates_args=())
def _gates(normal: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor, sharpness: float) -> Tensor:
    from tarpon.models.ops.mmoe.gates_kernel import gates_forward

    with torch.cuda.device_of(normal):  # kernels start on the current GPU, which need not be the tensors'
        return gates_forward(*(t.contiguous() for t in (normal, scale, shift, weight, bias)), sharpness)


@_gates.register_fake
def _(normal: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor, sharpness: float) -> Tensor:
    return normal.new_empty(normal.shape[0], *bias.shape, dtype=torch.float32)


@torch.library.custom_op("tarpon::mmoe_gates_backward", mutates_args=())
def _gates_backward(
    grad: Tensor, gates: Tensor, normal: Tensor, scale: Tensor, weight: Tensor, sharpness: float, needs_normal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    from tarpon.models.ops.mmoe.gates_kernel import gates_backward

    return gates_backward(*(t.contiguous() for t in (grad, gates, normal, scale, weight)), sharpness, needs_normal)


@_gates_backward.register_fake
def _(
    grad: Tensor, gates: Tensor, normal: Tensor, scale: Tensor, weight: Tensor, sharpness: float, needs_normal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    K, D, E = weight.shape
    d_normal = normal.new_empty(normal.shape if needs_normal else (0,))
    return d_normal, weight.new_empty((K, D, E), dtype=torch.float32), weight.new_empty((K, E), dtype=torch.float32)


def _save(ctx, inputs, output) -> None:
    normal, scale, shift, weight, bias, sharpness = inputs
    ctx.save_for_backward(output, normal, scale, shift, weight)
    ctx.sharpness, ctx.bias_dtype = sharpness, bias.dtype


def _gradients(ctx, grad: Tensor):
    """With G = normal^T dscores: dU = scale G + shift dbias, dscale = sum over E of U G, dshift = sum over E of U dbias."""
    output, normal, scale, shift, weight = ctx.saved_tensors
    needs = ctx.needs_input_grad[0]
    d_normal, product, d_bias = _gates_backward(grad, output, normal, scale, weight, ctx.sharpness, needs)
    wide = weight.float()
    d_weight = scale.float()[..., None] * product + shift.float()[..., None] * d_bias[:, None]
    d_scale, d_shift = (wide * product).sum(-1), (wide * d_bias[:, None]).sum(-1)
    small = (d_scale.to(scale.dtype), d_shift.to(shift.dtype), d_weight.to(weight.dtype), d_bias.to(ctx.bias_dtype))
    return (d_normal if needs else None, *small, None)


_gates.register_autograd(_gradients, setup_context=_save)


def random_inputs(shape: Shape, *, dtype: torch.dtype, device: str, seed: int) -> dict[str, object]:
    """Arguments of the gates at a shape, drawn from a seed; those that take a gradient require it."""
    B, D, E, K = shape
    draw = make_normal_sampler(seed, device)
    tensors = {
        "normal": draw(B, D),
        "scale": (1 + 0.3 * draw(K, D)).to(dtype),
        "shift": (0.3 * draw(K, D)).to(dtype),
        "weight": (draw(K, D, E) * D**-0.5).to(dtype),
        "bias": draw(K, E).to(dtype),
    }
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()} | {"temperature": 0.7}


def moved_bytes(shape: Shape, dtype: torch.dtype, *, backward: bool = False) -> int:
    """Least bytes read and written, of the forward or the backward."""
    B, D, E, K = shape
    rows, weights, out = 4 * B * D, (K * D * E + 2 * K * D) * dtype.itemsize, 4 * B * K * E
    return 2 * (rows + weights + out) if backward else rows + weights + out


def operations(shape: Shape, *, backward: bool = False) -> int:
    """Multiplications and additions, of the forward or the backward."""
    B, D, E, K = shape
    return (4 if backward else 2) * B * D * K * E


GATES = OpSpec(
    name="mmoe_gates",
    letters="BDEK",
    fused=gates,
    reference=gates_reference,
    inputs=random_inputs,
    shapes=((256, 1024, 4, 4), (4096, 1024, 4, 4), (64, 384, 4, 2), (1024, 1536, 8, 8), (8192, 1024, 16, 8)),
    small_shapes=((1, 1, 1, 1), (15, 63, 4, 4), (16, 64, 5, 1), (17, 65, 4, 16), (33, 40, 64, 3), (130, 33, 4, 4)),
    defaults=((256, 1024, 4, 4),),
    reduction=lambda shape: max(shape[:2]),
    moved_bytes=moved_bytes,
    operations=operations,
)
