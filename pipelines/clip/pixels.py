"""The last pass over a clip's pixels on a CPU: noise, mirror, brightness, contrast and normalisation in one, by torch.

DALI does one after the other over a whole clip of tens of megabytes, by way of memory each time; here it is done in blocks that
stay in a core's cache.

B clips, T frames, H x W pixels.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from tarpon.pipelines.noise import NoiseSlice

BLOCK = 1 << 18  # numbers made at a time: 1 MiB of float32; a quarter of it delivers a tenth fewer frames
BATCHES = 3  # delivered batches whose memory is used again: the caller's, its last one and the one being made


class Memory:
    """Memory for delivered batches, used again when no tensor of it is left.

    New memory of that size is a page fault every 4 KiB, or lies scattered among what DALI keeps.
    """

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        """A float32 tensor of any content."""
        for array in self._arrays:
            if array.shape == shape and sys.getrefcount(array) <= 3:  # the list's, `array` and the call's: no tensor's
                return torch.from_numpy(array)
        array = np.empty(shape, np.float32)
        self._arrays = [*self._arrays[1 - BATCHES :], array]
        return torch.from_numpy(array)


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
    with _one_thread():
        for clip, out, first, *how in zip(clips, made, noise_first.tolist(), mean, std, mirror.tolist(), strict=True):
            own = None if noise is None or first < 0 else NoiseSlice(first, tuple(clip.shape)).view(noise)
            _finish(clip, own, out, *how)
    return made.permute(0, 1, 4, 2, 3)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The other cores decode meanwhile: threads of torch would wait for each other at every block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
