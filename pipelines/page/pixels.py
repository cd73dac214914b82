"""The last pass over the pixels of pages on a CPU: levels to 0..1, brightness, contrast, noise and normalisation, by torch.

B pages, C channels of a page, S x S pixels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tarpon.pipelines.last_pass import BLOCK, Memory, one_thread
from tarpon.pipelines.noise import NoiseSlice


@dataclass(frozen=True, kw_only=True, eq=False)
class Light:
    """The variation of a batch of pages: a level x of 0..1 becomes factor * x + offset + noise, within 0..1."""

    factor: Tensor  # (B, C) float32
    offset: Tensor  # (B, C) float32
    noise_first: Tensor  # (B,) int64 where each page's noise begins in the bank; -1: none
    noise: Tensor  # (N,) float32, the bank; a page takes (S, S, C) of it


def finish_pages(
    pages: Tensor, *, black: Tensor, span: Tensor, light: Light | None, mean: float, std: float, colours: int, memory: Memory
) -> Tensor:
    """What DALI's operators make of the same.

    Args:
        pages: (B, C, S, S) uint16.
        black, span: (B, C) float32 level that becomes 0, and how many more become 1; beyond them it is 0 and 1.
        light: None: nothing is varied.
        mean, std: a level x of 0..1 is delivered as (x - mean) / std.
        colours: how many times a page of one channel is delivered, as another channel each.

    Returns:
        (B, C, S, S) float32, or (B, colours, S, S) of one channel, with the channels last in memory.
    """
    count, channels, height, width = pages.shape
    copies = colours if channels == 1 else 1
    made = memory.empty((count, height, width, channels * copies))
    rows = max(1, BLOCK // width)
    block = torch.empty(rows, width)
    with one_thread():
        for page in range(count):
            for channel in range(channels):
                out = made[page, ..., channel * copies : (channel + 1) * copies]
                for first in range(0, height, rows):
                    part = slice(first, first + rows)
                    levels = block[: len(out[part])].copy_(pages[page, channel, part])
                    levels.sub_(black[page, channel]).div_(span[page, channel]).clamp_(0, 1)
                    if light is not None:
                        _vary(levels, light, page=page, channel=channel, part=part, shape=(height, width, channels))
                    levels.sub_(mean).div_(std)
                    for copy in range(copies):
                        out[part, :, copy].copy_(levels)
    return made.permute(0, 3, 1, 2)


def _vary(levels: Tensor, light: Light, *, page: int, channel: int, part: slice, shape: tuple[int, int, int]) -> None:
    """Change the levels (rows, S) of a part of a page of that shape in place."""
    levels.mul_(light.factor[page, channel]).add_(light.offset[page, channel])
    first = int(light.noise_first[page])
    if first >= 0:
        levels.add_(NoiseSlice(first, shape).view(light.noise)[part, :, channel])
    levels.clamp_(0, 1)
