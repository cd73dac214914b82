"""What `tarpon export` knows of a task: the network with all that stands before and after it, and samples to prove a copy by.

In the shapes of a port a letter is a size that the caller chooses: B samples, T frames; the same letter is the same size.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tarpon.pipelines.loader import Loader
from tarpon.tools.evaluate import OpenedRun
from tarpon.train.task import Batch

BATCH = 2  # rows of the samples: tracing takes a size of 1 for one that never changes


@dataclass(frozen=True, kw_only=True)
class Port:
    """One tensor that goes in or comes out."""

    name: str
    dtype: str  # of torch: uint8, float32 ...
    shape: tuple[str | int, ...]  # a letter: the caller chooses
    holds: str  # one line for whoever calls the model


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A batch of the run's own data, read twice: raw for the exported model, and as the run's pipeline delivers it."""

    inputs: tuple[Tensor, ...]  # of the exported model, in the order of its ports
    expected: tuple[Tensor, ...]  # what the run's model answers to the pipeline's batch
    rows: int  # samples of the split in it that were in no earlier batch


@dataclass(frozen=True, kw_only=True, eq=False)
class Exportable:
    """A run's network made ready to leave."""

    module: nn.Module  # forward(*inputs) -> tuple of outputs; in evaluation mode, on the CPU
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    facts: Mapping[str, object]  # as JSON: `Exporting.rebuild` makes the module from it, with random weights
    samples: Iterator[Sample]  # by turns a batch of BATCH rows, and its first row alone: another size than was traced
    backbone: str  # timm's or the hub's name
    pretrained: bool | None  # whether training began with the backbone's published weights; None: not known
    stem: str = "model"  # of the file's name: networks that take different things have different ones


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """What is to be exported."""

    folder: Path  # of the run
    opened: OpenedRun  # with the model on the CPU, in batches of BATCH rows
    split: str  # whose samples prove the copy
    data: str | None = None  # other shards than the run's own
    images: str | None = None  # shards of the images that features were made of
    weights: str | None = None  # local file of the backbone that made the features
    pretrained: bool = True  # False: that backbone has random weights


@dataclass(frozen=True, kw_only=True)
class Exporting:
    """What a task adds to the command and to the model card."""

    open: Callable[[Request], Exportable]
    rebuild: Callable[[Mapping[str, object]], nn.Module]  # facts -> the module with random weights
    answers: str  # what the model says, one sentence
    use: str  # what it is meant for
    misuse: tuple[str, ...]  # what it must not be used for


class Normalise(nn.Module):
    """Pixels as decoded and resized -> the backbone's input: (x / 255 - mean) / std, as the pipelines' last pass does it."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """mean, std: of RGB in 0..1."""
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean))
        self.register_buffer("std", 255 * torch.tensor(std))

    def forward(self, pixels: Tensor) -> Tensor:
        """(..., H, W, 3) uint8 -> (..., 3, H, W) float32."""
        return ((pixels.float() - self.mean) / self.std).movedim(-1, -3)


def without_normalisation(loader: Loader) -> Loader:
    """The same loader, whose batches are from now on pixels 0..255 as decoded and resized; see `to_pixels`."""
    loader.feed.fields = replace(loader.feed.fields, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    return loader


def count_rows(batch: Batch) -> int:
    """Rows of a batch that are no padding."""
    return int((batch["row"] >= 0).sum())


def to_pixels(unscaled: Tensor) -> Tensor:
    """A pipeline's batch without normalisation, (..., 3, H, W) float of whole numbers 0..255 -> (..., H, W, 3) uint8.

    Raises:
        ValueError: a value is no whole number: the pipeline did more than decode and resize.
    """
    whole = unscaled.round()
    if (unscaled - whole).abs().max() > 1e-3 or whole.min() < 0 or whole.max() > 255:
        raise ValueError("the pipeline's pixels are no whole numbers of 0 to 255: this model cannot be checked on them")
    return whole.to(torch.uint8).movedim(-3, -1).contiguous()
