"""The last pass over a clip's pixels on a CPU: noise, mirror, brightness, contrast and normalisation in one, by torch.

B clips, T frames, H x W pixels.
"""

import torch
from torch import Tensor

from tarpon.pipelines.last_pass import BLOCK, Memory, one_thread
from tarpon.pipelines.noise import NoiseSlice


def finish_clips(
    clips: Tensor,
    *,
    mean: Tensor,
    std: Tensor,
    mirror: Tensor,
    noise_first: Tensor,
    noise: Tensor | None = None,
    memory: Memory,
) -> Tensor:
    """What DALI's cast and crop_mirror_normalize make of the same.

    Args:
        clips: (B, T, H, W, 3) uint8.
        mean, std: (B, 3) float32; a pixel x becomes (x - mean) / std.
        mirror: (B,) bool or integer; left and right of the clip change places.
        noise_first: (B,) int64 where each clip's noise begins in the bank; -1: none.
        noise: (N,) int8, the bank; None: no clip gets any. Noisy pixels are clipped to 0..255, then mirrored.

    Returns:
        (B, T, 3, H, W) float32, with the channels last in memory.
    """
    made = memory.empty(tuple(clips.shape))
    with one_thread():
        for clip, out, first, *how in zip(clips, made, noise_first.tolist(), mean, std, mirror.tolist(), strict=True):
            own = None if noise is None or first < 0 else NoiseSlice(first, tuple(clip.shape)).view(noise)
            _finish(clip, own, out, *how)
    return made.permute(0, 1, 4, 2, 3)


def _finish(clip: Tensor, noise: Tensor | None, out: Tensor, mean: Tensor, std: Tensor, mirror: int) -> None:
    """One clip (T, H, W, 3) uint8 with its noise, int8 of the same shape, into `out`."""
    width = clip.shape[2]
    lines, made = clip.flatten(0, 1).flatten(1), out.flatten(0, 1).flatten(1)  # (T * H, W * 3)
    noise = None if noise is None else noise.flatten(0, 1).flatten(1)
    mean, scale = mean.repeat(width), (1 / std).repeat(width)
    height = max(1, BLOCK // lines.shape[1])
    block, grain = torch.empty(2, height, lines.shape[1])
    for begin in range(0, len(lines), height):
        part = slice(begin, begin + height)
        count = len(lines[part])
        pixels = block[:count].copy_(lines[part])
        if noise is not None:
            pixels.add_(grain[:count].copy_(noise[part])).clamp_(0, 255)
        if mirror:
            pixels = pixels.unflatten(1, (width, 3)).flip(1).flatten(1)
        torch.sub(pixels, mean, out=made[part]).mul_(scale)
