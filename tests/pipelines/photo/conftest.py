"""Photographs in memory and the photograph graph that delivers them, as grey levels."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Loader
from tarpon.pipelines.photo.feed import PhotoFields, PhotoRequest, request_photos
from tarpon.pipelines.photo.graph import PhotoGraph
from tarpon.shards.quarantine import Budget
from tarpon.shards.sampling.photo_augment import underwater, wildlife
from tarpon.shards.sampling.photo_draws import PhotoDraw

SIZE = 64  # pixels, both sides of the delivered squares


class Contents:
    """A reader of encoded photographs held in memory."""

    def __init__(self, encoded: list[bytes]) -> None:
        self._encoded = encoded

    def read(self, row: int, column: str) -> bytes:
        assert column == "jpg"
        return self._encoded[row]


def _encode(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", **options)
    return buffer.getvalue()


def _smooth(height: int, width: int, *, sd: float = 2.0, seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((height, width, 3)), (sd, sd, 0))
    return (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)


def _make_loader(
    contents: list[bytes],
    *,
    batch: int,
    size: int = SIZE,
    augment: bool = True,
    device: int | None = None,
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1 / 255,) * 3,  # delivers grey levels
) -> Loader:
    fields = PhotoFields(size=size, mean=mean, std=std)
    feed = Feed(SimpleNamespace(), Contents(contents), fields, pool=np.arange(len(contents)), budget=Budget(0))
    return Loader(PhotoGraph(batch=batch, size=size, augment=augment), feed, device=device, threads=1)


def _deliver(contents: list[bytes], work: list[PhotoRequest], **options) -> np.ndarray:
    (batch,) = _make_loader(contents, batch=len(work), **options).run([work])
    return batch["image"].cpu().numpy().transpose(0, 2, 3, 1).copy()


def _vary(pixels: np.ndarray, *draws: PhotoDraw, size: int = SIZE) -> np.ndarray:
    return _deliver([_encode(pixels)], [PhotoRequest(row=0, draw=draw) for draw in draws], size=size)


def _request_all(rows: list[int], slots: list[int]) -> list[PhotoRequest]:
    always = {name: 1.0 for name in vars(underwater()) if name.endswith("_p")} | {"grey_p": 0.0}
    return request_photos(rows, augments=(wildlife(), replace(underwater(), **always)), sets=[r % 2 for r in rows], slots=slots)


@pytest.fixture(scope="session")
def encode():
    """(pixels, **options of Pillow's save) -> bytes of a PNG."""
    return _encode


@pytest.fixture(scope="session")
def smooth():
    """(height, width, *, sd, seed) -> (height, width, 3) uint8 blurred noise over the whole range."""
    return _smooth


@pytest.fixture(scope="session")
def make_loader():
    """(encoded photographs, *, batch, size, augment, device, mean, std) -> a loader; without mean and std of grey levels."""
    return _make_loader


@pytest.fixture(scope="session")
def deliver():
    """(encoded photographs, requests, **options of make_loader) -> (B, H, W, 3), grey levels by default."""
    return _deliver


@pytest.fixture(scope="session")
def vary():
    """(pixels, *draws) -> (draws, H, W, 3) grey levels: one photograph, varied by each draw."""
    return _vary


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    return _smooth(60, 80)


@pytest.fixture(scope="session")
def contents() -> list[bytes]:
    """Six photographs of different shapes, encoded."""
    return [_encode(_smooth(60 + 7 * i, 90 - 5 * i, seed=i)) for i in range(6)]


@pytest.fixture(scope="session")
def request_all():
    """(rows, slots) -> requests of both presets in one batch, the underwater one with all it has."""
    return _request_all
