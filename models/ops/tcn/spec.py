"""The records of the temporal block with either norm, for tests and benchmarks. Shapes are (B, T, C, H); three taps."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from tarpon.models.ops.dropout import hash_dropout
from tarpon.models.ops.spec import Baseline, OpSpec, Shape, make_normal_sampler
from tarpon.models.ops.tcn.block import temporal_block
from tarpon.models.ops.tcn.reference import GROUPS, temporal_block_reference

TAPS = 3


def make_inputs(shape: Shape, *, dtype: torch.dtype, device: str, seed: int, norm: str) -> dict[str, object]:
    """Clips of unlike lengths, with dropout, dilation 2 and, where the widths differ, a projection."""
    batch, frames, channels, hidden = shape
    generator, draw = torch.Generator().manual_seed(seed), make_normal_sampler(seed, device)

    def values(*size: int, spread: float = 1.0, middle: float = 0.0) -> Tensor:
        return (draw(*size) * spread + middle).to(dtype).requires_grad_()

    lengths = torch.randint(max(frames // 2, 1), frames + 1, (batch, 1), generator=generator)
    valid = (torch.arange(frames) < lengths).to(device)
    x = values(batch, frames, channels).detach().masked_fill(~valid[..., None], 0).requires_grad_()
    out: dict[str, object] = {
        "x": x,
        "valid": valid,
        "weight": values(hidden, TAPS, channels, spread=(TAPS * channels) ** -0.5),
    }
    out |= {"bias": values(hidden), "scale": values(hidden, spread=0.3, middle=1), "shift": values(hidden, spread=0.3)}
    if channels != hidden:
        out |= {"project": values(hidden, channels, spread=channels**-0.5), "project_bias": values(hidden)}
    dropout_seed = torch.randint(2**62, (), generator=generator).to(device)
    return out | {"dilation": 2, "norm": norm, "dropout": 0.3, "seed": dropout_seed}


def run_published(
    x, valid, weight, bias, scale, shift, project=None, project_bias=None, *, dilation, norm, dropout, seed
) -> Tensor:
    """The block of torch's own layers, (B, C, T) inside; padding is masked at the end only."""
    branch = F.conv1d(x.transpose(1, 2), weight.permute(0, 2, 1), bias, padding=dilation, dilation=dilation)
    if norm == "clip":
        branch = F.group_norm(branch, GROUPS, scale, shift).transpose(1, 2)
    else:
        branch = F.layer_norm(branch.transpose(1, 2), scale.shape, scale, shift)
    trunk = x if project is None else F.linear(x, project, project_bias)
    return (trunk + hash_dropout(F.gelu(branch), dropout, seed)).masked_fill(~valid[..., None], 0)


def make_published_baseline(given: dict[str, object]) -> Baseline:
    """The block of torch's own layers as a baseline."""
    return Baseline.of(run_published, given)


def count_weights(shape: Shape) -> int:
    """Numbers in the convolution's weight and the projection."""
    _, _, channels, hidden = shape
    return hidden * channels * (TAPS + (channels != hidden))


def moved_bytes(shape: Shape, dtype: torch.dtype, *, backward: bool = False) -> int:
    """x and the weights in, y out; backward dy, x and the weights in, and their gradients out."""
    batch, frames, channels, hidden = shape
    values = batch * frames * (channels + hidden) + count_weights(shape)
    return (values + backward * (batch * frames * channels + count_weights(shape))) * dtype.itemsize


def operations(shape: Shape, *, backward: bool = False) -> int:
    """Of the matrix products."""
    return 2 * shape[0] * shape[1] * count_weights(shape) * (1 + backward)


def make_spec(name: str, *, norm: str) -> OpSpec:
    """The record of the block with one norm, frame or clip."""
    shapes = [(2, 60, 256, 256), (2, 180, 512, 256), (8, 345, 256, 256), (16, 1800, 128, 128), (16, 1800, 256, 256)]
    return OpSpec(
        name=name,
        letters="BTCH",
        fused=temporal_block,
        reference=temporal_block_reference,
        inputs=partial(make_inputs, norm=norm),
        shapes=(*shapes, (8, 345, 512, 512), (16, 1800, 512, 512), (4, 1800, 1024, 1024), (2, 333, 200, 328)),
        small_shapes=((1, 1, 32, 32), (2, 15, 32, 32), (1, 16, 24, 40), (3, 17, 40, 32)),
        defaults=((8, 345, 512, 512), (16, 1800, 512, 512)),
        moved_bytes=moved_bytes,
        operations=operations,
        reduction=lambda shape: max(shape[0] * shape[1], TAPS * max(shape[2:])),
        baselines={"published": make_published_baseline},
        aims={(16, 1800, 512, 512): {"eager": 1.7, "compiled": 1.2}, (8, 345, 512, 512): {"eager": 1.5, "compiled": 1.2}},
    )


BLOCK = make_spec("temporal_block", norm="frame")
CLIP_BLOCK = make_spec("temporal_block_clip", norm="clip")
