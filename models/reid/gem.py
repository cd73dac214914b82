"""From feature maps to one vector: fusion of maps of several strides, and generalised-mean pooling.

N images, C channels, h x w cells.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

EPS = 1e-6


class GeM(nn.Module):
    """Generalised-mean pooling with a learnable exponent (Radenovic, Tolias and Chum, TPAMI 2019).

    At p = 1 the average, towards the maximum as p grows. For maps that are not negative: what is below 1e-6 counts as 1e-6.
    """

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        if p < 1:
            raise ValueError(f"p={p} must be at least 1, the average")
        self.p = nn.Parameter(
            torch.tensor([float(p)])
        )  # one axis: no weight decay, which would pull it to the average and below

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C) float32, computed so whatever autocast says: cubes leave the range of 16 bits."""
        p = self.p.float()
        p = p + (p.clamp(min=1) - p).detach()  # a clamp alone has no gradient below 1, and p would never come back
        return gem(maps, p)


def gem(maps: Tensor, p: Tensor | float) -> Tensor:
    """(N, C, h, w) -> (N, C) float32: (mean of x^p)^(1/p)."""
    with torch.autocast(maps.device.type, enabled=False):
        cells = maps.float().flatten(2).clamp(min=EPS)
        # as shares of the largest cell, or x^p of a large p would leave the range of 32 bits as well
        top = cells.amax(-1, keepdim=True).detach()
        return (cells / top).pow(p).mean(-1).pow(1 / p) * top[..., 0]


class Fusion(nn.Module):
    """Maps of several strides -> one: normalised, mixed to `width` channels and enlarged to the first one's size,
    each by itself; then added up, normalised, rectified.

    As a 1x1 convolution of the enlarged maps side by side: it and the enlargement commute, and this way the convolution runs on
    the small maps. Norms are over channels, so that no image depends on the others of its batch.
    """

    def __init__(self, channels: Sequence[int], width: int = 512) -> None:
        super().__init__()
        self.norms = nn.ModuleList(LayerNorm2d(each) for each in channels)
        self.mixes = nn.ModuleList(nn.Conv2d(each, width, 1, bias=False) for each in channels)
        self.norm = LayerNorm2d(width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """maps: (N, channels, h, w) each, the largest first. Returns (N, width, h, w) of the first one's size."""
        size, dtype, total = maps[0].shape[-2:], self.norm.weight.dtype, 0.0
        for each, norm, mix in zip(maps, self.norms, self.mixes, strict=True):
            mixed = mix(norm(each.to(dtype)))
            same = mixed.shape[-2:] == size
            total = total + (mixed if same else F.interpolate(mixed, size=size, mode="bilinear", align_corners=False))
        return F.relu(self.norm(total))
