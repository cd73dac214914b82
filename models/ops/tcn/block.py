"""One block of a temporal convolution network: skip + dropout(gelu(norm(conv(x)))) on valid frames, 0 elsewhere.

B clips, T frames, C channels in, H channels out, k taps. Channels stay last from end to end. On a GPU the norm, gelu,
dropout, residual and mask never make a pass of their own over memory; dropout's mask is computed twice and never stored.
"""

import torch
from torch import Tensor

from tarpon.models.ops.choices import LIBRARY, find_choice
from tarpon.models.ops.dropout import check_share, draw_seed
from tarpon.models.ops.launch import device_name, runs_kernel
from tarpon.models.ops.tcn.reference import GROUPS, temporal_block_reference

NORMS = ("frame", "clip")
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
HIDDEN_MAX = 8192  # a program holds whole rows


def temporal_block(
    x: Tensor,
    valid: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    project: Tensor | None = None,
    project_bias: Tensor | None = None,
    *,
    dilation: int,
    causal: bool = False,
    norm: str = "frame",
    dropout: float = 0.0,
    seed: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """skip + dropout(gelu(norm(conv(x)))) on valid frames, 0 elsewhere; skip is x, or x @ project.T + project_bias.

    A kernel adds up in float32. Under autocast it multiplies in autocast's dtype and returns that.

    Args:
        x: (B, T, C) input, 0 on padding; on a GPU float16, bfloat16 or float32.
        valid: (B, T) bool, False on padding.
        weight: (H, k, C) taps, first tap earliest; k odd unless causal. dtype of x.
        bias: (H,) of the convolution; like scale and shift of any floating dtype on a GPU.
        scale: (H,) of the norm.
        shift: (H,) of the norm.
        project: (H, C) to the residual, needed exactly where C != H. dtype of x.
        project_bias: (H,), exactly with `project`.
        dilation: frames between taps.
        causal: the last tap lies on the frame itself, not the middle one.
        norm: "frame" over the channels of a frame; "clip" over 8 channel groups and the valid frames of a clip.
        dropout: share of branch values dropped; 0 outside training.
        seed: () int64, the dropout's, as `draw_seed` makes it on the device of x; None draws one where dropout is above 0.

    Returns:
        (B, T, H) in the dtype of x, newly allocated.
    """
    check(x, valid, weight, project, project_bias, (bias, scale, shift), dilation=dilation, causal=causal, norm=norm)
    check_share(dropout)
    options = {"dilation": dilation, "causal": causal, "norm": norm, "dropout": dropout, "eps": eps}
    if not runs_kernel(x):
        seed = draw_seed(x.device) if dropout and seed is None else seed
        return temporal_block_reference(x, valid, weight, bias, scale, shift, project, project_bias, seed=seed, **options)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, project = x.to(dtype), weight.to(dtype), None if project is None else project.to(dtype)
    check_kernel(x, weight, project)
    if takes_library(x, weight, norm=norm):
        vectors = [None if vector is None else vector.to(x.dtype) for vector in (bias, scale, shift, project_bias)]
        with torch.autocast(x.device.type, enabled=False):
            return temporal_block_reference(x, valid, weight, *vectors[:3], project, vectors[3], seed=seed, **options)
    if dropout:
        seed = draw_seed(x.device) if seed is None else seed.to(x.device)
    given = [x, weight, bias, scale, shift] + ([] if project is None else [project, project_bias])
    save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    seed = seed if dropout else None
    settings = (dilation, causal, norm, dropout, eps, save)
    return block_op(x, valid, weight, bias, scale, shift, project, project_bias, seed, *settings)[0]


def check(x, valid, weight, project, project_bias, vectors, *, dilation, causal, norm) -> None:
    """Raises ValueError for what no device can do."""
    if (
        x.ndim != 3
        or valid.shape != x.shape[:2]
        or valid.dtype != torch.bool
        or weight.ndim != 3
        or weight.shape[2] != x.shape[2]
    ):
        raise ValueError(
            f"temporal_block wants x (B, T, C), valid (B, T) bool and weight (H, k, C); got {tuple(x.shape)}, "
            f"{tuple(valid.shape)} {valid.dtype} and {tuple(weight.shape)}"
        )
    hidden, taps, channels = weight.shape
    if any(vector.shape != (hidden,) for vector in vectors):
        raise ValueError(f"bias, scale and shift must be ({hidden},) and are {[tuple(vector.shape) for vector in vectors]}")
    if norm not in NORMS or (norm == "clip" and hidden % GROUPS):
        raise ValueError(f"norm={norm!r} must be 'frame', or 'clip' with H a multiple of {GROUPS}; H is {hidden}")
    if dilation < 1 or (taps % 2 == 0 and not causal):
        raise ValueError(f"dilation={dilation} must be at least 1 and the number of taps, {taps}, odd unless causal")
    if project is None and (channels != hidden or project_bias is not None):
        raise ValueError(
            f"{channels} channels in and {hidden} out: give project and project_bias together, or neither with C = H"
        )
    if project is not None and (project.shape != (hidden, channels) or project_bias is None or len(project_bias) != hidden):
        raise ValueError(f"project must be ({hidden}, {channels}) with a bias ({hidden},) and is {tuple(project.shape)}")


def takes_library(x: Tensor, weight: Tensor, *, norm: str) -> bool:
    """Whether the table says that plain PyTorch is fastest. Not while compiling, which must not follow the way into a table:
    the operation then takes the library's products with its own passes around them."""
    if torch.compiler.is_compiling():
        return False
    sizes = (x.shape[0] * x.shape[1], x.shape[2], len(weight))
    op = "temporal_block" if norm == "frame" else "temporal_block_clip"
    found = find_choice(op, sizes=sizes, dtype=x.dtype, device=device_name(x.device))
    return found is not None and found.way == LIBRARY


def check_kernel(x: Tensor, weight: Tensor, project: Tensor | None) -> None:
    """Raises ValueError for what the kernels cannot do."""
    dtypes = {x.dtype, weight.dtype} | (set() if project is None else {project.dtype})
    if len(dtypes) > 1 or x.dtype not in DTYPES:
        raise ValueError(
            f"temporal_block on a GPU multiplies one of float16, bfloat16 and float32 and got "
            f"{', '.join(sorted(map(str, dtypes)))}; cast x and the weights to one of them"
        )
    if len(weight) > HIDDEN_MAX or x.shape[:2].numel() >= 2**31:
        raise ValueError(
            f"temporal_block on a GPU takes H up to {HIDDEN_MAX} and B * T below 2**31; got {len(weight)}, {tuple(x.shape)}"
        )


@torch.library.custom_op("tarpon::temporal_block", mutates_args=())
def block_op(
    x: Tensor,
    valid: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    project: Tensor | None,
    project_bias: Tensor | None,
    seed: Tensor | None,
    dilation: int,
    causal: bool,
    norm: str,
    dropout: float,
    eps: float,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """y, and for the backward h (B, T, H), the convolution, and mean, rstd and count of the norm; of size 0 unless `save`."""
    from tarpon.models.ops.tcn import launch as tcn_launch

    call = tcn_launch.describe(x, weight, seed, dilation, causal, norm, dropout, eps)
    given = [None if tensor is None else tensor.contiguous() for tensor in (weight, bias, scale, shift, project, project_bias)]
    with torch.cuda.device_of(x):  # where kernels start, whatever device is the current one; nothing for a CPU tensor
        return tcn_launch.forward(call, x.contiguous(), valid.contiguous().view(torch.uint8), *given, save=save)


@block_op.register_fake
def _(x, valid, weight, bias, scale, shift, project, project_bias, seed, dilation, causal, norm, dropout, eps, save):
    def room(*shape: int) -> Tensor:
        return x.new_empty(shape if save else (0,), dtype=torch.float32)

    shape = (*x.shape[:2], len(weight))
    clip = norm == "clip"
    groups = (x.shape[0], GROUPS) if clip else (x.shape[0] * x.shape[1],)
    count = room(x.shape[0]) if clip else x.new_empty((0,), dtype=torch.float32)
    return x.new_empty(shape), x.new_empty(shape if save else (0,)), room(*groups), room(*groups), count


@torch.library.custom_op("tarpon::temporal_block_backward", mutates_args=())
def block_backward_op(
    dy: Tensor,
    x: Tensor,
    valid: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    project: Tensor | None,
    seed: Tensor | None,
    h: Tensor,
    mean: Tensor,
    rstd: Tensor,
    count: Tensor,
    dilation: int,
    causal: bool,
    norm: str,
    dropout: float,
    eps: float,
    want_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x (size 0 unless wanted), weight, project (size 0 without one), and (4, H) float32 those of scale, shift,
    bias and project_bias."""
    from tarpon.models.ops.tcn import launch as tcn_launch

    call = tcn_launch.describe(x, weight, seed, dilation, causal, norm, dropout, eps)
    given = [None if tensor is None else tensor.contiguous() for tensor in (weight, scale, shift, project)]
    saved = (h, mean, rstd, count)
    valid = valid.contiguous().view(torch.uint8)
    with torch.cuda.device_of(x):
        return tcn_launch.backward(call, dy.contiguous(), x.contiguous(), valid, *given, saved, want_x=want_x)


@block_backward_op.register_fake
def _(dy, x, valid, weight, scale, shift, project, seed, h, mean, rstd, count, dilation, causal, norm, dropout, eps, want_x):
    dproject = weight.new_empty(0 if project is None else project.shape)
    vectors = x.new_empty((4, len(weight)), dtype=torch.float32)
    return x.new_empty(x.shape if want_x else 0), weight.new_empty(weight.shape), dproject, vectors


def keep_for_backward(ctx, inputs, output) -> None:
    """Save the tensors and settings that `backward` needs."""
    x, valid, weight, bias, scale, shift, project, project_bias, seed, *settings, _ = inputs
    ctx.save_for_backward(x, valid, weight, scale, shift, project, seed, *output[1:])
    ctx.settings = settings
    ctx.dtypes = [scale.dtype, shift.dtype, bias.dtype, None if project is None else project_bias.dtype]
    ctx.mark_non_differentiable(*output[1:])


def backward(ctx, dy, *_):
    """Gradients of the arguments of `block_op`, in order; None for those without one."""
    want_x = ctx.needs_input_grad[0]
    dx, dweight, dproject, vectors = block_backward_op(dy, *ctx.saved_tensors, *ctx.settings, want_x)
    dscale, dshift, dbias = (vectors[i].to(ctx.dtypes[i]) for i in range(3))
    trunk = (None, None) if ctx.dtypes[3] is None else (dproject, vectors[3].to(ctx.dtypes[3]))
    return dx if want_x else None, None, dweight, dbias, dscale, dshift, *trunk, *[None] * 7


block_op.register_autograd(backward, setup_context=keep_for_backward)
