"""Multi-gate mixture of experts in four steps: shared layer norm, gates of all tasks, experts of all rows, mix for all tasks.

B rows, D features, E experts, H features of an expert, K tasks. The norm, whose affine parts are taken over by the gates
and the experts, is PyTorch's own: it reads and writes (B, D) once, as a kernel of ours would.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tarpon.models.moe.stacked import promote_to_float32, stacked_affine, stacked_linear
from tarpon.models.ops.choices import LIBRARY
from tarpon.models.ops.dropout import draw_seed, hash_dropout
from tarpon.models.ops.launch import device_name, runs_kernel
from tarpon.models.ops.mmoe.experts import experts
from tarpon.models.ops.mmoe.experts import operations as expert_operations
from tarpon.models.ops.mmoe.experts import random_inputs as expert_inputs
from tarpon.models.ops.mmoe.gates import TEMPERATURE_MIN, gates
from tarpon.models.ops.mmoe.gates import random_inputs as gate_inputs
from tarpon.models.ops.mmoe.mix import check_dtypes, mix
from tarpon.models.ops.mmoe.published import make_looped_baseline
from tarpon.models.ops.mmoe.tiles import choose_mixture
from tarpon.models.ops.spec import OpSpec, Shape, make_normal_sampler


def mmoe_reference(
    x: Tensor,
    expert_scale: Tensor,
    expert_shift: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    gate_scale: Tensor,
    gate_shift: Tensor,
    gate_weight: Tensor,
    gate_bias: Tensor,
    *,
    temperature: float = 1.0,
    dropout: float = 0.0,
    eps: float = 1e-5,
    seed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As `mmoe`, in plain PyTorch; used on a CPU. Without a seed dropout is PyTorch's own, which is faster there."""
    normal = F.layer_norm(x, x.shape[-1:], eps=eps)
    # The experts' affine parts go into the rows, the gates' into the weights: folded into W, which has more rows than a
    # batch, layer 1 took 187 ms forward + backward against 97 (B 256, D 1024, H 2048, E 4, two CPU cores).
    hidden = F.gelu(stacked_linear(stacked_affine(normal, expert_scale, expert_shift), in_weight, in_bias))
    hidden = hash_dropout(hidden, dropout, seed)
    values = F.gelu(stacked_linear(hidden, out_weight, out_bias))  # (E, B, H)
    weight = (gate_scale[..., None] * gate_weight).permute(1, 0, 2).flatten(1)  # (D, K*E)
    bias = gate_bias + (gate_shift[..., None] * gate_weight).sum(1)
    scores = promote_to_float32(torch.addmm(bias.flatten(), normal.to(weight.dtype), weight))
    shares = (scores / max(temperature, TEMPERATURE_MIN)).unflatten(1, gate_bias.shape).softmax(-1)
    return torch.bmm(shares.to(values.dtype), values.transpose(0, 1)), shares


def mmoe(
    x: Tensor,
    expert_scale: Tensor,
    expert_shift: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    gate_scale: Tensor,
    gate_shift: Tensor,
    gate_weight: Tensor,
    gate_bias: Tensor,
    *,
    temperature: float = 1.0,
    dropout: float = 0.0,
    eps: float = 1e-5,
    seed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """All experts, and every task's mix of them.

    expert_e(x) = gelu(dropout(gelu(norm_e(x) W_e + b_e)) V_e + c_e); gate_k(x) = softmax((norm_k(x) U_k + d_k) / temperature);
    mixed_k = sum over e of gate_k[e] * expert_e. The norms differ only in their affine part, so their statistics are one.

    Args:
        x: (B, D).
        expert_scale, expert_shift: (E, D) of the experts' norms.
        in_weight, in_bias: (E, D, H), (E, H).
        out_weight, out_bias: (E, H, H), (E, H).
        gate_scale, gate_shift: (K, D) of the gates' norms.
        gate_weight, gate_bias: (K, D, E), (K, E).
        dropout: share of values dropped between an expert's layers; 0 outside training.
        seed: () int64 on the device of x for dropout; drawn there from PyTorch's generator if not given.

    Returns:
        mixed (B, K, H), gates (B, K, E).

    Raises:
        ValueError: on CUDA more than 64 experts or 16 tasks, or a dtype other than float16, bfloat16 and float32.
    """
    tensors = (expert_scale, expert_shift, in_weight, in_bias, out_weight, out_bias)
    gate_tensors = (gate_scale, gate_shift, gate_weight, gate_bias)
    if runs_kernel(x):
        check_dtypes("mmoe", x, *tensors, *gate_tensors)
    if not runs_kernel(x) or takes_library(x, in_weight, gate_bias):
        options = {"temperature": temperature, "dropout": dropout, "eps": eps, "seed": seed}
        return mmoe_reference(x, *tensors, *gate_tensors, **options)
    normal = F.layer_norm(x.float(), x.shape[-1:], eps=eps)
    if torch.is_autocast_enabled(x.device.type):  # custom operations are not among those that autocast knows
        dtype = torch.get_autocast_dtype(x.device.type)
        in_weight, out_weight, gate_weight = in_weight.to(dtype), out_weight.to(dtype), gate_weight.to(dtype)
    shares = gates(normal, gate_scale, gate_shift, gate_weight, gate_bias, temperature=temperature)
    seed = draw_seed(x.device) if dropout and seed is None else seed
    hidden = experts(normal, expert_scale, expert_shift, in_weight, in_bias, out_weight, dropout=dropout, seed=seed)
    return mix(hidden, out_bias, shares), shares


def takes_library(x: Tensor, in_weight: Tensor, gate_bias: Tensor) -> bool:
    """Whether the table says that plain PyTorch is fastest. False while compiling, which must not trace the table."""
    if torch.compiler.is_compiling():
        return False
    E, D, H = in_weight.shape
    sizes = {"rows": len(x), "features": D, "hidden": H, "experts": E, "tasks": len(gate_bias)}
    autocast = torch.is_autocast_enabled(x.device.type)
    dtype = torch.get_autocast_dtype(x.device.type) if autocast else in_weight.dtype
    return choose_mixture(dtype=dtype, device=device_name(x.device), **sizes) == LIBRARY


def random_inputs(shape: Shape, *, dtype: torch.dtype, device: str, seed: int) -> dict[str, object]:
    """Arguments of the whole mixture of experts at a shape, drawn from a seed; those that take a gradient require it."""
    B, D, H, E, K = shape
    inner = expert_inputs((B, D, H, E), dtype=dtype, device=device, seed=seed)
    gate = gate_inputs((B, D, E, K), dtype=dtype, device=device, seed=seed + 1)
    draw = make_normal_sampler(seed + 2, device)
    out_bias = (0.3 * draw(E, H)).to(dtype)
    return {
        "x": inner["normal"],
        **{f"expert_{name}": inner[name] for name in ("scale", "shift")},
        **{name: inner[name] for name in ("in_weight", "in_bias", "out_weight", "dropout", "seed")},
        "out_bias": out_bias.requires_grad_(),
        **{f"gate_{name}": gate[name] for name in ("scale", "shift", "weight", "bias")},
        "temperature": gate["temperature"],
    }


def moved_bytes(shape: Shape, dtype: torch.dtype, *, backward: bool = False) -> int:
    """Least bytes read and written, of the forward or the backward."""
    B, D, H, E, K = shape
    rows, shares = 4 * B * D, 4 * B * K * E
    weights = (E * (D * H + H * H) + K * D * E) * dtype.itemsize
    # of (E, B, H) forward writes two products and the hidden values and reads the last two; backward reads all three, writes
    # the gradients of both products and reads them again
    values, mixed = E * B * H * dtype.itemsize, B * K * H * dtype.itemsize
    return 2 * (rows + weights + shares) + 7 * values + mixed if backward else rows + weights + shares + 5 * values + mixed


def operations(shape: Shape, *, backward: bool = False) -> int:
    """Multiplications and additions, of the forward or the backward."""
    B, D, H, E, K = shape
    gating = (4 if backward else 2) * B * K * E * (D + H)
    return expert_operations((B, D, H, E), backward=backward) + gating


MMOE = OpSpec(
    name="mmoe",
    letters="BDHEK",
    fused=mmoe,
    reference=mmoe_reference,
    inputs=random_inputs,
    shapes=(
        (256, 1024, 2048, 4, 4),
        (4096, 1024, 2048, 4, 4),
        (64, 384, 512, 4, 2),
        (1024, 1536, 2048, 8, 8),
        (8192, 1024, 4096, 16, 4),
    ),
    small_shapes=((1, 9, 1, 1, 1), (15, 31, 33, 4, 4), (17, 33, 65, 5, 1), (2, 9, 5, 64, 16)),
    defaults=((256, 1024, 2048, 4, 4), (4096, 1024, 2048, 4, 4)),
    reduction=lambda shape: max(shape[:3]),
    moved_bytes=moved_bytes,
    baselines={"published": make_looped_baseline},
    aims={(256, 1024, 2048, 4, 4): {"eager": 2.0}, (4096, 1024, 2048, 4, 4): {"eager": 1.25, "compiled": 1.0}},
    operations=operations,
)
