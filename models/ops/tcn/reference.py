"""The temporal block in plain PyTorch, channels last from end to end: what the kernels must match, and what a CPU runs.

Letters as in `tcn/block.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tarpon.models.ops.dropout import hash_dropout

GROUPS = 8  # of the "clip" norm, as published


def temporal_block_reference(
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
    """As `temporal_block`; any floating dtype. Without a seed dropout is PyTorch's own."""
    # Three blocks to H 256, forward + backward with dropout, ms on one | two CPU threads: torch's Conv1d, GroupNorm, GELU and
    # Dropout on (B, C, T) / this with norm "frame" / with "clip": (2, 180, 512) 33/30/32 | 22/20/22,
    # (8, 345, 256) 178/160/150 | 106/88/92, (2, 1800, 256) 205/205/211 | 140/120/118.
    branch = temporal_conv(x, weight, bias, dilation=dilation, causal=causal)
    if norm == "frame":
        branch = F.layer_norm(branch, scale.shape, scale, shift, eps)
    else:
        branch = clip_norm(branch, valid, scale, shift, eps=eps)
    branch = hash_dropout(F.gelu(branch), dropout, seed)
    trunk = x if project is None else F.linear(x, project, project_bias)
    return (trunk + branch).masked_fill(~valid[..., None], 0)


def temporal_conv(x: Tensor, weight: Tensor, bias: Tensor, *, dilation: int, causal: bool = False) -> Tensor:
    """(B, T, C), (H, k, C), (H,) -> (B, T, H): a dilated convolution, centred unless causal, with zeros beyond the ends.

    One matrix product over the k shifted copies of the frames, side by side.
    """
    # One CPU core, forward + backward of dilations 1, 2, 4, (B, T, C) -> H 256, ms: this / F.conv1d with the transposes /
    # F.conv1d on (B, C, T): (2, 180, 512) 39/51/45, (2, 345, 256) 38/56/46, (8, 180, 256) 82/99/84, (8, 345, 512) 298/371/323.
    copies = shifted_frames(x, taps=weight.shape[1], dilation=dilation, causal=causal)
    return F.linear(copies, weight.flatten(1), bias)


def shifted_frames(x: Tensor, *, taps: int, dilation: int, causal: bool) -> Tensor:
    """(B, T, C) -> (B, T, taps * C): for every frame those that its taps lie on, first tap earliest."""
    return tap_copies(x, taps=taps, dilation=dilation, back=dilation * (taps - 1 if causal else taps // 2))


def tap_copies(x: Tensor, *, taps: int, dilation: int, back: int) -> Tensor:
    """(B, T, C) -> (B, T, taps * C): side by side the frames t - back, t - back + dilation, ...; zeros beyond the ends."""
    frames = x.shape[1]
    padded = F.pad(x, (0, 0, back, dilation * (taps - 1) - back))
    return torch.cat([padded[:, tap * dilation : tap * dilation + frames] for tap in range(taps)], -1)


def clip_norm(x: Tensor, valid: Tensor, scale: Tensor, shift: Tensor, *, eps: float = 1e-5) -> Tensor:
    """torch's GroupNorm of a (B, C, T) clip, channels last, its statistics over valid frames only.

    Args: x (B, T, H); valid (B, T) bool; scale and shift (H,). Returns: (B, T, H) in the dtype of x.
    """
    # One CPU core, forward + backward of (8, 345, 256), ms: 4.6; with masked sums in place of the products 6.8.
    h = x if x.dtype == torch.float64 else x.float()
    mask, width = valid[:, None].to(h.dtype), h.shape[-1] // GROUPS
    count = mask.sum(2, keepdim=True).clamp_min(1) * width

    def mean(values: Tensor) -> Tensor:
        """(B, T, H) -> (B, 1, H), the mean of a channel's group over the valid frames."""
        sums = (mask @ values).unflatten(-1, (GROUPS, width)).sum(-1, keepdim=True)
        return (sums / count[..., None]).expand(-1, -1, -1, width).flatten(-2)

    with torch.autocast(x.device.type, enabled=False):  # which would add up in its own dtype
        centred = h - mean(h)
        slope = torch.rsqrt(mean(centred.square()) + eps) * scale
        return torch.addcmul(shift.to(h.dtype), centred, slope.to(h.dtype)).to(x.dtype)
