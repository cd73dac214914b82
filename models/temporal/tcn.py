"""Temporal convolution network: dilated, length-preserving, independent of padding.

B clips, T frames, C channels in, H channels out, k taps. Channels stay last from end to end.
"""

import torch
from torch import Tensor, nn

from tarpon.models.ops.tcn.block import NORMS, temporal_block
from tarpon.models.ops.tcn.reference import GROUPS, clip_norm, temporal_conv

__all__ = ["TCN", "TemporalBlock", "clip_norm", "temporal_conv"]


class TCN(nn.Module):
    """`layers` temporal blocks with dilations 1, 2, 4, ...: each output sees 1 + (kernel - 1) * (2**layers - 1) frames."""

    def __init__(
        self,
        dim: int,
        *,
        hidden: int = 256,
        layers: int = 3,
        kernel: int = 3,
        dropout: float = 0.3,
        norm: str = "frame",
        causal: bool = False,
    ) -> None:
        super().__init__()
        widths, options = [dim] + [hidden] * layers, {"kernel": kernel, "dropout": dropout, "norm": norm, "causal": causal}
        self.blocks = nn.ModuleList(TemporalBlock(widths[i], hidden, dilation=2**i, **options) for i in range(layers))
        self.reach = (kernel - 1) * (2**layers - 1) // (1 if causal else 2)  # frames back, and ahead unless causal

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Args: x (B, T, dim); valid (B, T) bool, False on padding. Returns: (B, T, hidden), 0 on padding."""
        x = x.masked_fill(~valid[..., None], 0)  # not a product: padding may hold NaN
        for block in self.blocks:
            x = block(x, valid)
        return x


class TemporalBlock(nn.Module):
    """The parameters of one `temporal_block`."""

    def __init__(
        self, dim: int, hidden: int, *, kernel: int, dilation: int, dropout: float, norm: str, causal: bool = False
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm={norm!r} must be one of {', '.join(NORMS)}")
        if kernel % 2 == 0 and not causal:
            raise ValueError(f"kernel={kernel} must be odd, so that a frame sees as far ahead as back")
        if norm == "clip" and hidden % GROUPS:
            raise ValueError(f"hidden={hidden} must be a multiple of {GROUPS} with norm='clip'; change it or use norm='frame'")
        self.dilation, self.dropout, self.norm, self.causal = dilation, dropout, norm, causal
        conv = nn.Conv1d(dim, hidden, kernel)  # only for torch's own initialisation
        self.weight = nn.Parameter(conv.weight.detach().permute(0, 2, 1).contiguous())  # (H, k, C)
        self.bias = nn.Parameter(conv.bias.detach().clone())
        self.scale = nn.Parameter(torch.ones(hidden))
        self.shift = nn.Parameter(torch.zeros(hidden))
        self.skip = nn.Identity() if dim == hidden else nn.Linear(dim, hidden)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Args: x (B, T, dim), 0 on padding; valid (B, T) bool, False on padding. Returns: (B, T, hidden), 0 on padding."""
        same = isinstance(self.skip, nn.Identity)
        return temporal_block(
            x.to(self.weight.dtype),
            valid,
            self.weight,
            self.bias,
            self.scale,
            self.shift,
            None if same else self.skip.weight,
            None if same else self.skip.bias,
            dilation=self.dilation,
            causal=self.causal,
            norm=self.norm,
            dropout=self.dropout if self.training else 0.0,
        )
