"""Both layers of all experts, up to the second one's product: dropout(gelu((normal * scale_e + shift_e) W_e + b_e)) V_e.

B rows, D features, E experts, H features of an expert. Every expert sees every row, so that the products are batched ones
of equal size. Two ways to them, both with the same answer but for rounding:

"library_products": cuBLAS does all products; the norms' affine part, the activation and their gradients are passes apart.
"fused": those happen inside of Triton products, whose tiles take the affine part on their way in and bias, GELU and dropout
on their way out; a product with nothing around it stays cuBLAS's.

Where rows do not ask for a gradient, as features do not, none is made: with G_e = normal^T dz_e (dz the gradient of the first
layer's product), dW_e = scale_e G_e + shift_e db_e, dscale_e = sum over H of W_e G_e and dshift_e = sum over H of W_e db_e.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tarpon.models.moe.stacked import stacked_affine, stacked_linear
from tarpon.models.ops.choices import WAYS
from tarpon.models.ops.dropout import check_share, hash_dropout
from tarpon.models.ops.launch import device_name, runs_kernel
from tarpon.models.ops.mmoe.mix import check_counts, check_dtypes
from tarpon.models.ops.mmoe.tiles import choose_experts
from tarpon.models.ops.spec import OpSpec, Shape, make_normal_sampler


def experts_reference(
    normal: Tensor,
    scale: Tensor,
    shift: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    *,
    dropout: float = 0.0,
    seed: Tensor | None = None,
) -> Tensor:
    """As `experts`, in plain PyTorch; any floating dtype."""
    hidden = F.gelu(stacked_linear(stacked_affine(normal, scale, shift), in_weight, in_bias))
    return torch.bmm(hash_dropout(hidden, dropout, seed), out_weight)


def experts(
    normal: Tensor,
    scale: Tensor,
    shift: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    *,
    dropout: float = 0.0,
    seed: Tensor | None = None,
    way: str | None = None,
) -> Tensor:
    """All experts but for the last layer's bias and GELU, which `mix` computes.

    Args:
        normal: (B, D) rows after a layer norm without affine part; float32 best keeps what the affine part adds.
        scale, shift: (E, D) of the experts' norms; 1 <= E <= 64.
        in_weight, in_bias: (E, D, H), (E, H). All products run in the dtype of in_weight.
        out_weight: (E, H, H), dtype of in_weight.
        dropout: share of the hidden values dropped, by a hash of the seed, of e * B + b and of the feature.
        seed: () int64 on the device of normal (`dropout.draw_seed`); needed where dropout > 0.
        way: "library_products" or "fused"; None leaves it to the table (`choices.py`).

    Returns:
        (E, B, H), dtype of in_weight.

    Raises:
        ValueError: a shape, a number of experts, a missing seed, or on CUDA a dtype that it does not serve.
    """
    check_experts(normal, scale, shift, in_weight, in_bias, out_weight)
    check_share(dropout)
    if dropout and seed is None:
        raise ValueError(f"dropout={dropout} of mmoe_experts needs a seed; take models/ops/dropout.py:draw_seed(device)")
    if not runs_kernel(normal):
        return experts_reference(normal, scale, shift, in_weight, in_bias, out_weight, dropout=dropout, seed=seed)
    check_dtypes("mmoe_experts", normal, scale, shift, in_weight, in_bias, out_weight)
    if way not in (None, *WAYS["mmoe_experts"]):
        raise ValueError(f"way={way!r} must be one of {', '.join(WAYS['mmoe_experts'])}")
    tensors = (normal, scale, shift, in_weight, in_bias, out_weight)
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return _experts(*tensors, seed.to(normal.device) if dropout else None, dropout, way, keep)[0]


def check_experts(normal: Tensor, scale: Tensor, shift: Tensor, in_weight: Tensor, in_bias: Tensor, out_weight: Tensor) -> None:
    """Raises ValueError unless shapes fit together and both weights have one dtype."""
    E, D, H = in_weight.shape if in_weight.dim() == 3 else (0, 0, 0)
    shapes = (scale.shape, shift.shape, in_bias.shape, out_weight.shape)
    if not E or normal.dim() != 2 or normal.shape[1] != D or shapes != ((E, D), (E, D), (E, H), (E, H, H)):
        got = ", ".join(str(tuple(t.shape)) for t in (normal, scale, shift, in_weight, in_bias, out_weight))
        raise ValueError(
            f"mmoe_experts wants normal (B, D), scale and shift (E, D), in_weight (E, D, H), in_bias (E, H) and "
            f"out_weight (E, H, H); got {got}"
        )
    if out_weight.dtype != in_weight.dtype:
        raise ValueError(f"mmoe_experts wants both weights of one dtype; got {in_weight.dtype} and {out_weight.dtype}")
    check_counts(experts=E)


def _is_fused(way: str | None, normal: Tensor, in_weight: Tensor) -> bool:
    """Whether the fused kernels run; decided inside the operation, because a compiler must not trace the table."""
    E, D, H = in_weight.shape
    sizes = {"rows": len(normal), "features": D, "hidden": H, "experts": E}
    return (way or choose_experts(dtype=in_weight.dtype, device=device_name(normal.device), **sizes)) == "fused"


@torch.library.custom_op("tarpon::mmoe_experts", mutates_args=())
def _experts(
    normal: Tensor,
    scale: Tensor,
    shift: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    seed: Tensor | None,
    dropout: float,
    way: str | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The output and, with `keep`, the first layer's product and hidden values for the gradient, all (E, B, H)."""
    from tarpon.models.ops.mmoe.experts_launch import Dropout, experts_forward

    tensors = (t.contiguous() for t in (normal, scale, shift, in_weight, in_bias, out_weight))
    with torch.cuda.device_of(normal):  # kernels start on the current GPU, which need not be the tensors'
        return experts_forward(*tensors, drop=Dropout.of(dropout, seed), fused=_is_fused(way, normal, in_weight), keep=keep)


@_experts.register_fake
def _(normal, scale, shift, in_weight, in_bias, out_weight, seed, dropout, way, keep):
    E, _, H = in_weight.shape
    kept = (E, normal.shape[0], H) if keep else (0,)
    return tuple(in_weight.new_empty(shape) for shape in ((E, normal.shape[0], H), kept, kept))


@torch.library.custom_op("tarpon::mmoe_experts_backward", mutates_args=())
def _experts_backward(
    grad: Tensor,
    product: Tensor,
    hidden: Tensor,
    normal: Tensor,
    scale: Tensor,
    shift: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    seed: Tensor | None,
    dropout: float,
    way: str | None,
    needs_normal: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients in the order of `experts`; that of normal is empty if not needed."""
    from tarpon.models.ops.mmoe.experts_launch import Dropout, experts_backward

    tensors = (t.contiguous() for t in (grad, product, hidden, normal, scale, shift, in_weight, in_bias, out_weight))
    return experts_backward(
        *tensors, drop=Dropout.of(dropout, seed), fused=_is_fused(way, normal, in_weight), needs_normal=needs_normal
    )


@_experts_backward.register_fake
def _(
    grad,
    product,
    hidden,
    normal,
    scale,
    shift,
    in_weight,
    in_bias,
    out_weight,
    seed,
    dropout,
    way,
    needs_normal,
):
    d_normal = normal.new_empty(normal.shape if needs_normal else (0,))
    return d_normal, *(t.new_empty(t.shape) for t in (scale, shift, in_weight, in_bias, out_weight))


def _save(ctx, inputs, output) -> None:
    *tensors, seed, dropout, way, _ = inputs
    _, product, hidden = output
    ctx.save_for_backward(product, hidden, *tensors, seed)
    ctx.mark_non_differentiable(product, hidden)
    ctx.set_materialize_grads(False)  # else zeros of (E, B, H) are made for each of the two
    ctx.dropout, ctx.way = dropout, way


def _gradients(ctx, grad: Tensor, *_):
    if grad is None:
        return (None,) * 10
    needs = ctx.needs_input_grad[0]
    d_normal, *rest = _experts_backward(grad, *ctx.saved_tensors, ctx.dropout, ctx.way, needs)
    return (d_normal if needs else None, *rest, None, None, None, None)


_experts.register_autograd(_gradients, setup_context=_save)


def random_inputs(shape: Shape, *, dtype: torch.dtype, device: str, seed: int) -> dict[str, object]:
    """Arguments of both layers of all experts at a shape, drawn from a seed; those that take a gradient require it."""
    B, D, H, E = shape
    draw = make_normal_sampler(seed, device)
    tensors = {
        "normal": draw(B, D),
        "scale": (1 + 0.3 * draw(E, D)).to(dtype),
        "shift": (0.3 * draw(E, D)).to(dtype),
        "in_weight": (draw(E, D, H) * D**-0.5).to(dtype),
        "in_bias": (0.3 * draw(E, H)).to(dtype),
        "out_weight": (draw(E, H, H) * H**-0.5).to(dtype),
    }
    leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    return leaves | {"dropout": 0.1, "seed": torch.tensor(1234 + seed, device=device)}


def moved_bytes(shape: Shape, dtype: torch.dtype, *, backward: bool = False) -> int:
    """Least bytes read and written, of the forward or the backward."""
    B, D, H, E = shape
    rows, weights, values = 4 * B * D, E * (D * H + H * H) * dtype.itemsize, E * B * H * dtype.itemsize
    # forward writes product, hidden values (read again) and answer; backward reads grad, product and hidden values, and
    # writes and reads the gradient of the first product
    return 2 * rows + 2 * weights + 5 * values if backward else rows + weights + 4 * values


def operations(shape: Shape, *, backward: bool = False) -> int:
    """Multiplications and additions, of the forward or the backward."""
    B, D, H, E = shape
    return (4 if backward else 2) * B * E * H * (D + H)


EXPERTS = OpSpec(
    name="mmoe_experts",
    letters="BDHE",
    fused=experts,
    reference=experts_reference,
    inputs=random_inputs,
    shapes=((256, 1024, 2048, 4), (4096, 1024, 2048, 4), (64, 384, 512, 4), (1024, 1536, 2048, 8), (8192, 1024, 4096, 16)),
    small_shapes=((1, 1, 1, 1), (15, 31, 33, 4), (16, 32, 64, 5), (17, 33, 127, 2), (2, 9, 5, 64), (65, 129, 129, 1)),
    defaults=((256, 1024, 2048, 4), (4096, 1024, 2048, 4)),
    reduction=lambda shape: max(shape[:3]),
    moved_bytes=moved_bytes,
    operations=operations,
)
