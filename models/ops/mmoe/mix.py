"""Every task's mix of all experts: mixed_k = sum over e of gate_k[e] * gelu(hidden_e + bias_e), in one pass over memory.

B rows, E experts, H features of an expert, K tasks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tarpon.models.ops.launch import runs_kernel
from tarpon.models.ops.spec import OpSpec, Shape, make_normal_sampler

EXPERTS_MAX = 64
TASKS_MAX = 16
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def mix_reference(hidden: Tensor, bias: Tensor, gates: Tensor) -> Tensor:
    """As `mix`, in plain PyTorch; any floating dtype."""
    experts = F.gelu(hidden + bias[:, None])
    return torch.bmm(gates.to(experts.dtype), experts.transpose(0, 1))


def mix(hidden: Tensor, bias: Tensor, gates: Tensor) -> Tensor:
    """Activate the experts' last layer and mix it for all tasks; neither (E, B, H) nor (B, K, E, H) is written.

    The last layer's bias and GELU are here and not behind its product: the GELU's gradient needs the product itself, so
    that its value would be written and read besides.

    Args:
        hidden: (E, B, H) product of the experts' last layer, float16 | bfloat16 | float32; 1 <= E <= 64.
        bias: (E, H) of that layer.
        gates: (B, K, E) float32 weights of the experts; 1 <= K <= 16.

    Returns:
        (B, K, H), dtype of hidden.

    Raises:
        ValueError: a shape, a number of experts or tasks, or on CUDA a dtype that it does not serve.
    """
    check_mix(hidden, bias, gates)
    if not runs_kernel(hidden):
        return mix_reference(hidden, bias, gates)
    check_dtypes("mmoe_mix", hidden, bias, gates)
    return _mix(hidden, bias, gates.float())


def check_mix(hidden: Tensor, bias: Tensor, gates: Tensor) -> None:
    """Raises ValueError unless shapes fit together."""
    if hidden.dim() != 3 or bias.shape != hidden.shape[::2] or gates.dim() != 3 or gates.shape[::2] != hidden.shape[1::-1]:
        shapes = ", ".join(str(tuple(t.shape)) for t in (hidden, bias, gates))
        raise ValueError(f"mmoe_mix wants hidden (E, B, H), bias (E, H) and gates (B, K, E); got {shapes}")
    check_counts(experts=len(hidden), tasks=gates.shape[1])


def check_counts(*, experts: int, tasks: int = 1) -> None:
    """Raises ValueError for a number of experts or tasks that the kernels were not made for."""
    if not (1 <= experts <= EXPERTS_MAX and 1 <= tasks <= TASKS_MAX):
        raise ValueError(f"experts={experts} must be in [1, {EXPERTS_MAX}] and tasks={tasks} in [1, {TASKS_MAX}]")


def check_dtypes(name: str, *tensors: Tensor) -> None:
    """Raises ValueError for a dtype or a place that the kernels do not serve."""
    for tensor in tensors:
        if tensor.dtype not in DTYPES or tensor.device != tensors[0].device:
            raise ValueError(
                f"{name} on {tensors[0].device} takes float16, bfloat16 or float32 on that device; "
                f"got {tensor.dtype} on {tensor.device}"
            )


@torch.library.custom_op("tarpon::mmoe_mix", mutates_args=())
def _mix(hidden: Tensor, bias: Tensor, gates: Tensor) -> Tensor:
    from tarpon.models.ops.mmoe.mix_kernel import mix_forward

    with torch.cuda.device_of(hidden):  # kernels start on the current GPU, which need not be the tensors'
        return mix_forward(hidden.contiguous(), bias.contiguous(), gates.contiguous())


@_mix.register_fake
def _(hidden: Tensor, bias: Tensor, gates: Tensor) -> Tensor:
    return hidden.new_empty(gates.shape[0], gates.shape[1], hidden.shape[2])


@torch.library.custom_op("tarpon::mmoe_mix_backward", mutates_args=())
def _mix_backward(grad: Tensor, hidden: Tensor, bias: Tensor, gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from tarpon.models.ops.mmoe.mix_kernel import mix_backward

    return mix_backward(grad.contiguous(), hidden.contiguous(), bias.contiguous(), gates.contiguous())


@_mix_backward.register_fake
def _(grad: Tensor, hidden: Tensor, bias: Tensor, gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (hidden, bias, gates))


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx, grad: Tensor):
    return _mix_backward(grad, *ctx.saved_tensors)


_mix.register_autograd(_gradients, setup_context=_save)


def random_inputs(shape: Shape, *, dtype: torch.dtype, device: str, seed: int) -> dict[str, Tensor]:
    """Arguments of the mixture at a shape, drawn from a seed; those that take a gradient require it."""
    B, H, E, K = shape
    draw = make_normal_sampler(seed, device)
    tensors = {
        "hidden": draw(E, B, H).to(dtype),
        "bias": draw(E, H).to(dtype),
        "gates": draw(B, K, E).softmax(-1),
    }
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()}


def moved_bytes(shape: Shape, dtype: torch.dtype, *, backward: bool = False) -> int:
    """Least bytes read and written, of the forward or the backward."""
    B, H, E, K = shape
    experts, mixed, gates = E * B * H * dtype.itemsize, B * K * H * dtype.itemsize, 4 * B * K * E
    return (2 if backward else 1) * (experts + gates) + mixed  # backward reads and writes experts and gates


def operations(shape: Shape, *, backward: bool = False) -> int:
    """Multiplications and additions, of the forward or the backward."""
    B, H, E, K = shape
    return (4 if backward else 2) * B * K * E * H


MIX = OpSpec(
    name="mmoe_mix",
    letters="BHEK",
    fused=mix,
    reference=mix_reference,
    inputs=random_inputs,
    shapes=((256, 2048, 4, 4), (4096, 2048, 4, 4), (64, 512, 4, 2), (1024, 1536, 8, 8), (8192, 4096, 16, 8)),
    small_shapes=((1, 1, 1, 1), (3, 63, 4, 4), (2, 64, 5, 1), (2, 65, 4, 16), (2, 257, 64, 3), (1, 1025, 2, 4)),
    defaults=((256, 2048, 4, 4),),
    reduction=lambda shape: max(shape[:2]),
    moved_bytes=moved_bytes,
    operations=operations,
)
