"""What labs use today, to compare with: OpenCV decoding and NumPy augmentation in a PyTorch DataLoader.

Written to be as quick as this way of working allows: pixels stay uint8 until the augmentations, which work in place and
only where they were drawn; each worker has one thread and keeps running. T frames, H = W = size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tarpon.shards.sampling.draws import ClipDraw, index_window_frames


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """A window of a source video."""

    video: Path
    first: int  # video frame of the trial's row 0
    trial: int  # frames in the trial
    start: int  # first frame of the window within the trial
    actions: np.ndarray  # (trial,) int64
    draw: ClipDraw


class VideoWindows(Dataset):
    """Windows as ready tensors: clip (T, 3, H, W) float32 normalised, actions (T,) int64 with -1 where the trial has none.

    Args:
        cuts: what to read; index i is cut i modulo their number, so that a loader runs on.
        mean, std: of RGB in 0..1. noise_sd: of full scale.
    """

    def __init__(
        self,
        cuts: Sequence[Cut],
        *,
        frames: int,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        noise_sd: float,
        length: int = 10**7,
    ) -> None:
        self.cuts, self.frames, self.size, self.noise_sd, self.length = cuts, frames, size, noise_sd, length
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        cut = self.cuts[index % len(self.cuts)]
        labels, pixels, valid = index_window_frames(
            trial=cut.trial, start=cut.start, frames=self.frames, roll=cut.draw.roll, dropped=cut.draw.dropped
        )
        first = int(pixels.min())
        clip = read_frames(cut.video, first=cut.first + first, count=int(pixels.max()) - first + 1, size=self.size)
        clip = augment_clip(clip[pixels - first], cut.draw, noise_sd=self.noise_sd, seed=index)
        clip -= self.mean
        clip /= self.std
        # no copy here: collating the batch lays the clip out anew
        return torch.from_numpy(clip.transpose(0, 3, 1, 2)), torch.from_numpy(np.where(valid, cut.actions[labels], -1))


def read_frames(path: Path, *, first: int, count: int, size: int) -> np.ndarray:
    """(count, size, size, 3) uint8 RGB, by seeking and reading on."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        capture.set(cv2.CAP_PROP_POS_FRAMES, first)
        clip = np.empty((count, size, size, 3), np.uint8)
        for index in range(count):
            ready, frame = capture.read()
            if not ready:
                raise ValueError(f"{path}: OpenCV reads no frame {first + index}")
            cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), (size, size), dst=clip[index])
    finally:
        capture.release()
    return clip


def augment_clip(clip: np.ndarray, draw: ClipDraw, *, noise_sd: float, seed: int) -> np.ndarray:
    """(T, H, W, 3) uint8 -> float32 in 0..1 with the draw's brightness, contrast and noise."""
    result = clip.astype(np.float32)
    result *= 1 / 255
    if draw.brightness != 1:
        result *= np.float32(draw.brightness)
    if draw.contrast != 1:
        middle = np.float32(128 / 255)
        result -= middle
        result *= np.float32(draw.contrast)
        result += middle
    if draw.noise is not None:
        noise = np.random.default_rng(seed).standard_normal(result.shape, dtype=np.float32)
        noise *= np.float32(noise_sd)
        result += noise
        np.clip(result, 0, 1, out=result)
    return result


def _single_thread(_worker: int) -> None:
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def make_loader(dataset: VideoWindows, *, batch: int, workers: int, pin: bool = False) -> Iterator[list[torch.Tensor]]:
    """Endless batches of [clip (B, T, 3, H, W), actions (B, T)]."""
    # fork, PyTorch's usual way on Linux, said because a spawned process hands "spawn" on to its own workers: those leave
    # through the interpreter's end and abort when their queue's thread is just then moving a clip into shared memory
    return iter(
        DataLoader(
            dataset,
            batch_size=batch,
            num_workers=workers,
            persistent_workers=True,
            pin_memory=pin,
            worker_init_fn=_single_thread,
            multiprocessing_context="fork" if workers else None,
        )
    )
