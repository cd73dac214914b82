"""Temporal convolution network: non-causal, dilated, length-preserving, blind to padding.

B clips, T frames, C channels in, H channels out, k taps. Channels stay last from end to end.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8  # of the "clip" norm, as published
NORMS = ("frame", "clip")


class TCN(nn.Module):
    """`layers` temporal blocks with dilations 1, 2, 4, ...: each output sees 1 + (kernel - 1) * (2**layers - 1) frames."""

    def __init__(
        self, dim: int, *, hidden: int = 256, layers: int = 3, kernel: int = 3, dropout: float = 0.3, norm: str = "frame"
    ) -> None:
        super().__init__()
        widths = [dim] + [hidden] * layers
        self.blocks = nn.ModuleList(
            TemporalBlock(widths[i], hidden, kernel=kernel, dilation=2**i, dropout=dropout, norm=norm) for i in range(layers)
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Args: x (B, T, dim); valid (B, T) bool, False on padding. Returns: (B, T, hidden), 0 on padding."""
        for block in self.blocks:
            x = block(x, valid)
        return x


class TemporalBlock(nn.Module):
    """The parameters of one `temporal_block`."""

    def __init__(self, dim: int, hidden: int, *, kernel: int, dilation: int, dropout: float, norm: str) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm={norm!r} must be one of {', '.join(NORMS)}")
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} must be odd, so that a frame sees as far ahead as back")
        if norm == "clip" and hidden % GROUPS:
            raise ValueError(f"hidden={hidden} must be a multiple of {GROUPS} with norm='clip'; change it or use norm='frame'")
        self.dilation, self.dropout, self.norm = dilation, dropout, norm
        conv = nn.Conv1d(dim, hidden, kernel)  # only for torch's own initialisation
        self.weight = nn.Parameter(conv.weight.detach().permute(0, 2, 1).contiguous())  # (H, k, C)
        self.bias = nn.Parameter(conv.bias.detach().clone())
        self.scale = nn.Parameter(torch.ones(hidden))
        self.shift = nn.Parameter(torch.zeros(hidden))
        self.skip = nn.Identity() if dim == hidden else nn.Linear(dim, hidden)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        x = x.to(self.weight.dtype).masked_fill(~valid[..., None], 0)  # not a product: padding may hold NaN
        return temporal_block(
            x,
            valid,
            self.weight,
            self.bias,
            self.scale,
            self.shift,
            self.skip(x),
            dilation=self.dilation,
            norm=self.norm,
            dropout=self.dropout if self.training else 0.0,
        )


def temporal_block(
    x: Tensor,
    valid: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    skip: Tensor,
    *,
    dilation: int,
    norm: str = "frame",
    dropout: float = 0.0,
    eps: float = 1e-5,
) -> Tensor:
    """skip + dropout(gelu(norm(conv(x)))) on valid frames, 0 elsewhere. The reference that a fused kernel must match.

    Args:
        x: (B, T, C) input, 0 on padding.
        valid: (B, T) bool, False on padding.
        weight: (H, k, C) taps, first tap earliest; k odd.
        bias: (H,) of the convolution.
        scale: (H,) of the norm.
        shift: (H,) of the norm.
        skip: (B, T, H) trunk that the branch is added to.
        dilation: frames between taps.
        norm: "frame" over the channels of a frame; "clip" over 8 channel groups and the valid frames of a clip.
        dropout: share of branch values dropped; 0 outside training.

    Returns:
        (B, T, H) in the dtype of x.
    """
    branch = temporal_conv(x, weight, bias, dilation=dilation)
    if norm == "frame":
        branch = F.layer_norm(branch, scale.shape, scale, shift, eps)
    else:
        branch = clip_norm(branch, valid, scale, shift, eps=eps)
    branch = F.dropout(F.gelu(branch), dropout, training=dropout > 0)
    return (skip + branch).masked_fill(~valid[..., None], 0)


def temporal_conv(x: Tensor, weight: Tensor, bias: Tensor, *, dilation: int) -> Tensor:
    """(B, T, C), (H, k, C), (H,) -> (B, T, H): a centred dilated convolution with zeros beyond the ends.

    One matrix product over the k shifted copies of the frames, side by side.
    """
    # One CPU core, forward + backward of dilations 1, 2, 4, (B, T, C) -> H 256, ms: this / F.conv1d with the transposes /
    # F.conv1d on (B, C, T): (2, 180, 512) 39/51/45, (2, 345, 256) 38/56/46, (8, 180, 256) 82/99/84, (8, 345, 512) 298/371/323.
    frames, taps = x.shape[1], weight.shape[1]
    reach = dilation * (taps // 2)
    padded = F.pad(x, (0, 0, reach, reach))
    shifted = [padded[:, tap * dilation : tap * dilation + frames] for tap in range(taps)]
    return F.linear(torch.cat(shifted, -1), weight.flatten(1), bias)


def clip_norm(x: Tensor, valid: Tensor, scale: Tensor, shift: Tensor, *, eps: float = 1e-5) -> Tensor:
    """torch's GroupNorm of a (B, C, T) clip, channels last, its statistics over valid frames only.

    Args: x (B, T, H); valid (B, T) bool; scale and shift (H,). Returns: (B, T, H) in the dtype of x.
    """
    grouped = x.float().unflatten(-1, (GROUPS, -1)) if x.dtype != torch.float64 else x.unflatten(-1, (GROUPS, -1))
    mask = valid[:, :, None, None].to(grouped.dtype)
    count = mask.sum((1, 3), keepdim=True).clamp_min(1) * grouped.shape[-1]
    mean = (grouped * mask).sum((1, 3), keepdim=True) / count
    variance = ((grouped - mean).square() * mask).sum((1, 3), keepdim=True) / count
    normal = (grouped - mean) * torch.rsqrt(variance + eps)
    return (normal.flatten(-2) * scale + shift).to(x.dtype)
