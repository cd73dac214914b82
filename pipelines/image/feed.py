"""Requests of images -> inputs of the image graph."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from tarpon.pipelines.feed import StoredRow
from tarpon.pipelines.noise import NoiseBank
from tarpon.shards.manifest import Manifest


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageRequest:
    """One image to deliver."""

    row: int  # -1: padding, delivered as another image with row -1
    mirror: bool = False


@dataclass(frozen=True, kw_only=True)
class ImageFields:
    """Turns a stored image into the inputs of crop, mirror and normalisation."""

    column: str  # the manifest's component that holds the encoded image
    mean: tuple[float, ...]  # of the backbone's training images, 0..1, one a channel
    std: tuple[float, ...]

    names: ClassVar[tuple[str, ...]] = ("image", "mean", "std", "mirror", "row")
    banks: ClassVar[Mapping[str, NoiseBank]] = MappingProxyType({})
    sample_bytes: ClassVar[int] = 3 * 224 * 224 * 4  # the usual crop: batches of images need no exact number

    def arrays(self, stored: StoredRow, request: ImageRequest) -> dict[str, np.ndarray]:
        """As `Fields.arrays`."""
        return {
            "image": stored.read_uint8(self.column),
            "mean": 255 * np.array(self.mean, np.float32),
            "std": 255 * np.array(self.std, np.float32),
            "mirror": np.array(request.mirror, np.int32),
            "row": np.array(stored.row if request.row >= 0 else -1, np.int64),
        }

    def check(self, manifest: Manifest, *, device: int | None) -> None:
        """Any device decodes images: what its hardware cannot, its software can."""


def request_images(turns: Iterable[np.ndarray]) -> Iterator[list[ImageRequest]]:
    """Requests without augmentation for (B,) row ids, one array a batch; -1 pads."""
    return ([ImageRequest(row=int(row)) for row in rows] for rows in turns)
