"""Pages of several channels through the graph: each channel as a page of that channel alone would come out of it."""

from types import SimpleNamespace

import numpy as np
import pytest

from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Loader
from tarpon.pipelines.page.feed import PageFields, PageRequest, select_levels
from tarpon.pipelines.page.graph import PageGraph
from tarpon.shards.quarantine import Budget
from tarpon.shards.sampling.draws import PageAugment, PageDraw, draw_page
from tarpon.shards.sources.cells.pages import encode_tiff

SIZE, CHANNELS = 32, 3
LOW, HIGH = np.array([1000, 20_000, 0], np.float32), np.array([50_000, 40_000, 65_535], np.float32)
STILL = {"flip_x": False, "flip_y": False, "angle": 0.0, "brightness": 1.0, "contrast": 1.0, "noise": None}


class Contents:
    """A reader of encoded pages held in memory."""

    def __init__(self, pages: list[np.ndarray]) -> None:
        self._encoded = [encode_tiff(page) for page in pages]

    def read(self, row: int, column: str) -> bytes:
        return self._encoded[row]


def load(
    pages, work, *, low, high, channels: int = 1, noise_sd: float = 0.0, augment: bool = True, direct: bool = False
) -> np.ndarray:
    """(B, C, SIZE, SIZE) in 0..1."""
    fields = PageFields(low=low, high=high, size=SIZE, noise_sd=noise_sd, direct=direct)
    sides = [{"height": len(page) // channels, "width": page.shape[1]} for page in pages]
    manifest = SimpleNamespace(value=lambda row, column: sides[row][column])
    feed = Feed(manifest, Contents(pages), fields, pool=np.arange(len(pages)), budget=Budget(0))
    graph = PageGraph(size=SIZE, channels=channels, batch=len(work), mean=0.0, std=1.0, augment=augment)
    (batch,) = Loader(graph, feed, device=None).run([work])
    return batch["page"].numpy().copy()


def load_together(planes: list[np.ndarray], work, **options) -> np.ndarray:
    """planes: of each page (C, H, W)."""
    pages = [page.reshape(-1, page.shape[-1]) for page in planes]
    low, high = (np.repeat(levels[None], len(pages), 0) for levels in (LOW, HIGH))
    return load(pages, work, low=low, high=high, channels=CHANNELS, **options)


@pytest.fixture(scope="module")
def planes() -> list[np.ndarray]:
    """Two pages of three channels, of different sizes, one of them odd."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 65_536, (CHANNELS, height, width)).astype(np.uint16) for height, width in ((32, 32), (51, 37))]


def test_channels_read_without_a_decoder_are_those_decoded():
    rng = np.random.default_rng(1)
    sides = ((2 * SIZE, 3 * SIZE), (SIZE, SIZE), (51, 37))  # the last needs a decoder
    planes = [rng.integers(0, 65_536, (CHANNELS, *side)).astype(np.uint16) for side in sides]
    work = [PageRequest(row=row, draw=PageDraw(**(STILL | {"angle": 10.0}))) for row in range(len(planes))]
    direct, decoded = (load_together(planes, work, direct=way) for way in (True, False))
    # one level of 16 bits on the scale of the channel with the narrowest range, where a sum is rounded the other way
    assert np.abs(direct - decoded).max() < 1.6 / (HIGH - LOW).min()


@pytest.mark.parametrize("augment", [False, True])
def test_a_channel_comes_as_it_would_alone(planes, augment):
    """Levels, brightness and contrast are the channel's own; flips and turn are those of all."""
    light = ((1.1, 0.9), (0.8, 1.2), (1.0, 1.0))
    shape = STILL | {"flip_y": True, "angle": 10.0}
    draws = [PageDraw(**(shape | {"brightness": bright, "contrast": strong})) for bright, strong in light]
    joint = PageDraw(**(shape | {"brightness": 1.1, "contrast": 0.9}), further=light[1:])
    work = [PageRequest(row=row, draw=joint) for row in (0, 1)]
    together = load_together(planes, work, augment=augment)
    assert together.shape == (2, CHANNELS, SIZE, SIZE)
    for channel in range(CHANNELS):
        low, high = (np.repeat(levels[channel : channel + 1], 2) for levels in (LOW, HIGH))
        own = [PageRequest(row=row, draw=draws[channel]) for row in (0, 1)]
        alone = load([page[channel] for page in planes], own, low=low, high=high, augment=augment)
        assert np.array_equal(together[:, channel], alone[:, 0])


def test_without_change_every_level_arrives(planes):
    got = load_together(planes[:1], [PageRequest(row=0)], augment=False)[0]
    expected = (planes[0].astype(np.float64) - LOW[:, None, None]) / (HIGH - LOW)[:, None, None]
    assert np.allclose(got, expected.clip(0, 1), atol=1e-6)


def test_noise_is_another_in_every_channel():
    grey = [np.full((CHANNELS, SIZE, SIZE), 30_000, np.uint16)]
    work = [PageRequest(row=0, draw=PageDraw(**(STILL | {"noise": 0.5})))]
    noisy, plain = (load_together(grey, work, noise_sd=sd)[0].reshape(CHANNELS, -1) for sd in (0.02, 0.0))
    noise = noisy - plain
    assert np.allclose(noise.std(1), 0.02, rtol=0.15)
    assert np.abs(np.corrcoef(noise) - np.eye(CHANNELS)).max() < 0.15


def test_further_channels_draw_anew_and_change_nothing_of_the_first():
    augment, key = PageAugment(), {"seed": 3, "epoch": 1}
    pairs = [(draw_page(augment, slot=slot, **key), draw_page(augment, slot=slot, channels=3, **key)) for slot in range(200)]
    for one, three in pairs:
        assert three.light(0) == one.light(0) == (one.brightness, one.contrast)
        assert (three.flip_x, three.flip_y, three.angle, three.noise) == (one.flip_x, one.flip_y, one.angle, one.noise)
        assert one.further == ()
        assert one.light(1) == (1.0, 1.0)
    bright = np.array([[three.light(channel)[0] for channel in range(3)] for _, three in pairs])
    assert ((bright >= 0.8) & (bright <= 1.2)).all()
    assert np.allclose((bright != 1).mean(0), 0.5, atol=0.12)
    assert np.abs(np.corrcoef(bright.T) - np.eye(3)).max() < 0.25


@pytest.mark.parametrize("contrast", ["first", "stack", "frame", "fixed", "stored"])
def test_every_kind_of_contrast_has_levels_of_each_channel(channel_shards, contrast):
    low, high = select_levels(channel_shards, contrast)
    assert low.shape == high.shape == (len(channel_shards), 2)
    first = {"first": "first_high", "stack": "high", "frame": "frame_max"}.get(contrast)
    if first:
        assert np.array_equal(high[:, 0], channel_shards.column(first).astype(np.float32))
        assert (high[:, 1] < 10_000).all()  # of gfp; phase goes up to 60,000
    else:
        assert (low == 0).all()
        assert (high == 65_535).all()
