"""What labs use today, to compare with: tifffile and torchvision in a PyTorch DataLoader.

Each sample opens its stack and reads one page, brings it to 8 bits by its own extremes and varies it, as published. Written to
be as quick as this way of working allows: pixels stay uint8 tensors until the normalisation, the page is made smaller before
anything else is done to it, each worker has one thread and keeps running. H = W = size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
from torch.utils.data import DataLoader, Dataset

from tarpon.tools.bench.sampler import EndlessSampler

ANGLE, JITTER = 15, 0.2  # degrees; brightness, contrast and saturation within 1 +- this
EPSILON = 1e-6  # grey levels: keeps a page of one level from being divided by nothing


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of a stack, with what is to be told of it."""

    stack: Path
    page: int
    label: int
    hours: float


class StackPages(Dataset):
    """Pages as ready tensors: (C, H, W) float32 normalised, label int64, hours float32.

    Args:
        pages: what to read.
        channels: 3, the grey page three times, as published; 1 repeats it where the batch is ready.
        mean, std: of 0..1.
    """

    def __init__(
        self,
        pages: Sequence[Page],
        *,
        size: int,
        mean: float,
        std: float,
        channels: int = 3,
    ) -> None:
        from torchvision.transforms import v2

        self.pages, self.channels = pages, channels
        self.transform = v2.Compose(
            [
                v2.Resize((size, size), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),
                v2.RandomRotation(ANGLE, interpolation=v2.InterpolationMode.BILINEAR),
                v2.ColorJitter(brightness=JITTER, contrast=JITTER, saturation=JITTER if channels == 3 else 0),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([mean] * channels, [std] * channels),
            ]
        )

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, float]:
        page = self.pages[index]
        pixels = torch.from_numpy(read_page(page.stack, page.page))[None].expand(self.channels, -1, -1)
        return self.transform(pixels), page.label, page.hours


def read_page(stack: Path, page: int) -> np.ndarray:
    """(H, W) uint8: the page stretched to its own extremes."""
    with tifffile.TiffFile(stack) as file:
        pixels = file.pages[page].asarray().astype(np.float32)
    pixels = pixels[..., 0] if pixels.ndim == 3 else pixels
    pixels -= pixels.min()
    pixels *= 255 / max(pixels.max(), EPSILON)
    return pixels.astype(np.uint8)


def _single_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def make_loader(dataset: StackPages, *, batch: int, workers: int, pin: bool = False) -> Iterator[list[torch.Tensor]]:
    """Endless batches of [pages (B, C, H, W), label (B,), hours (B,)]."""
    # fork, PyTorch's usual way on Linux, said because a spawned process hands "spawn" on to its own workers
    return iter(
        DataLoader(
            dataset,
            batch_size=batch,
            sampler=EndlessSampler(len(dataset)),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin,
            worker_init_fn=_single_thread,
            multiprocessing_context="fork" if workers else None,
        )
    )
