"""Heads: an action class for every frame, and the position of every keypoint.

B clips, T frames, K points, D channels, h x w cells of the feature map, P = h * w.
"""

import torch
from torch import Tensor, nn


class ActionHead(nn.Module):
    """Temporal features (B, T, dim) -> class scores (B, T, classes), before the softmax."""

    def __init__(self, dim: int, classes: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, dim) -> (B, T, classes)."""
        return self.linear(self.dropout(x))


class KeypointHead(nn.Module):
    """Keypoints from a feature map by integral regression (Sun et al., ECCV 2018).

    Each point has a heatmap over the cells; the position is its softmax-weighted mean of the cell centres, so a coarse
    map still gives fractions of a cell. A second, bounded term of at most half a cell is predicted from the features
    under the heatmap, because the mean of cell centres never leaves their hull: with it the whole of [0, 1] is
    reachable and nothing outside. It starts at zero.
    """

    def __init__(self, grid_dim: int, points: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(grid_dim)
        self.heatmap = nn.Linear(grid_dim, points)
        self.log_temperature = nn.Parameter(torch.zeros(points))
        self.offset = nn.Parameter(torch.zeros(points, 2, grid_dim))

    def forward(self, grid: Tensor) -> Tensor:
        """Args: grid (B, T, h, w, grid_dim). Returns: (B, T, K, 2) float32 in [0, 1]: x over the width, y over the height."""
        h, w = grid.shape[2:4]
        cells = self.norm(grid.to(self.norm.weight.dtype)).flatten(2, 3)  # (B, T, P, D)
        scores = self.heatmap(cells).float() / self.log_temperature.float().exp()
        share = scores.softmax(2).transpose(2, 3)  # (B, T, K, P), float32: bf16 would round the mean to 1/256
        seen = share.to(cells.dtype) @ cells  # (B, T, K, D)
        offset = torch.tanh((seen[..., None, :] * self.offset).sum(-1).float())
        place = (share[..., None] * cell_centres(h, w, device=grid.device)).sum(3)
        # no tensor of the two factors: it would be copied from the host, which waits for the GPU
        return place + torch.cat([offset[..., :1] * (0.5 / w), offset[..., 1:] * (0.5 / h)], -1)


def cell_centres(h: int, w: int, *, device: torch.device | None = None) -> Tensor:
    """(h * w, 2) float32: x, y of each cell's centre in [0, 1], row by row."""
    y = (torch.arange(h, device=device) + 0.5) / h
    x = (torch.arange(w, device=device) + 0.5) / w
    return torch.stack([x.repeat(h), y.repeat_interleave(w)], -1)
