"""Microscope pages through the graph: levels, turns and borders against NumPy, SciPy and hand-worked pages."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Loader
from tarpon.pipelines.page.feed import PageFields, PageRequest, find_neighbours, request_pages
from tarpon.pipelines.page.graph import PageGraph
from tarpon.shards.quarantine import Budget
from tarpon.shards.sampling.draws import PageAugment, PageDraw, draw_page
from tarpon.shards.sources.cells.pages import encode_tiff

SIZE = 32
FACTORS = ((2, 2), (1, 3), (1, 1), (1.5, 2), (0.5, 1))  # rows and columns of a stored page for one; the last two need a decoder


class Contents:
    """A reader of encoded pages held in memory."""

    def __init__(self, pages: list[np.ndarray]) -> None:
        self._encoded = [encode_tiff(page) for page in pages]

    def read(self, row: int, column: str) -> bytes:
        return self._encoded[row]


def loaded(
    pages: list[np.ndarray],
    work: list[PageRequest],
    *,
    low: float = 0,
    high: float = 65535,
    augment=True,
    resize=True,
    **options,
):
    """(B, SIZE, SIZE) float32 in 0..1, and rows."""
    count = len(pages)
    fields = PageFields(low=np.full(count, low, np.float32), high=np.full(count, high, np.float32), size=SIZE, **options)
    manifest = SimpleNamespace(value=lambda row, column: pages[row].shape[column == "width"])
    feed = Feed(manifest, Contents(pages), fields, pool=np.arange(count), budget=Budget(0))
    graph = PageGraph(size=SIZE, batch=len(work), mean=0.0, std=1.0, augment=augment, resize=resize)
    (batch,) = Loader(graph, feed, device=None).run([work])
    return batch["page"].numpy()[:, 0].copy(), batch["row"].tolist()


def draw(**given) -> PageDraw:
    still = {"flip_x": False, "flip_y": False, "angle": 0.0, "brightness": 1.0, "contrast": 1.0, "noise": None}
    return PageDraw(**{**still, **given})


@pytest.fixture(scope="module")
def page() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((SIZE, SIZE)), 2)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 60000 + 1000).astype(np.uint16)


def test_every_level_of_16_bits_counts(page):
    (got,), rows = loaded([page], [PageRequest(row=0)], low=1000, high=3000, augment=False)
    assert rows == [0]
    assert np.allclose(got, np.clip((page.astype(np.float64) - 1000) / 2000, 0, 1), atol=1e-6)


def test_an_8_bit_page_arrives_times_257():
    small = np.arange(SIZE * SIZE, dtype=np.uint32).reshape(SIZE, SIZE).astype(np.uint8)
    (got,), _ = loaded([small], [PageRequest(row=0)], augment=False)
    assert np.allclose(got, small / 255, atol=1e-6)


def test_flips_brightness_and_contrast_by_numpy(page):
    plain = page / 65535
    work = [
        PageRequest(row=0, draw=draw(flip_x=True)),
        PageRequest(row=0, draw=draw(flip_y=True)),
        PageRequest(row=0, draw=draw(brightness=1.2)),
        PageRequest(row=0, draw=draw(contrast=0.8)),
    ]
    got, _ = loaded([page], work)
    want = [plain[:, ::-1], plain[::-1], np.clip(plain * 1.2, 0, 1), (plain - 0.5) * 0.8 + 0.5]
    for one, other in zip(got, want, strict=True):
        assert np.allclose(one, other, atol=2e-6)


@pytest.mark.parametrize("angle", [15.0, -15.0, 7.0])
def test_what_turns_in_is_the_page_mirrored(page, angle):
    (got,), _ = loaded([page], [PageRequest(row=0, draw=draw(angle=angle))])
    # scipy turns the same way round for a matrix of the opposite sign; "reflect" mirrors about the edge of the last pixel
    want = ndimage.rotate(page / 65535, angle, reshape=False, order=1, mode="reflect")
    assert np.abs(got - want).max() < 1e-4


def test_flips_come_before_the_turn(page):
    (got,), _ = loaded([page], [PageRequest(row=0, draw=draw(flip_x=True, angle=10.0))])
    want = ndimage.rotate(page[:, ::-1] / 65535, 10, reshape=False, order=1, mode="reflect")
    assert np.abs(got - want).max() < 1e-4


def test_a_page_of_the_size_needs_no_stretching(page):
    (plain,), _ = loaded([page], [PageRequest(row=0)], augment=False)
    (left_out,), _ = loaded([page], [PageRequest(row=0)], augment=False, resize=False)
    assert np.array_equal(plain, left_out)


@pytest.mark.parametrize("augment", [False, True])
def test_plain_pages_read_without_a_decoder_are_those_decoded(augment):
    rng = np.random.default_rng(1)
    pages = [rng.integers(0, 65536, (int(rows * SIZE), int(columns * SIZE)), dtype=np.uint16) for rows, columns in FACTORS]
    work = [PageRequest(row=row, draw=draw(angle=10.0, flip_y=True, contrast=0.9)) for row in range(len(pages))]
    direct, rows = loaded(pages, work, augment=augment, direct=True)
    decoded, _ = loaded(pages, work, augment=augment)
    assert rows == list(range(len(pages)))
    assert np.abs(direct - decoded).max() < 1.6 / 65535  # one level of 16 bits, where a sum is rounded the other way


def test_noise_comes_from_its_place_in_the_bank(page):
    flat = np.full((SIZE, SIZE), 32768, np.uint16)
    work = [PageRequest(row=0, draw=draw(noise=place)) for place in (0.25, 0.25, 0.5)]
    got, _ = loaded([flat], work, noise_sd=0.02)
    assert np.array_equal(got[0], got[1])
    assert not np.array_equal(got[0], got[2])
    assert got[0].std() == pytest.approx(0.02, rel=0.15)
    assert got[0].mean() == pytest.approx(0.5, abs=0.003)


def test_a_page_that_stands_in_has_no_row(page):
    _, rows = loaded([page, page], [PageRequest(row=1), PageRequest(row=1, present=False), PageRequest(row=-1)])
    assert rows == [1, -1, -1]


def test_neighbours_by_hand():
    stacks, pages = np.array(["a", "a", "b", "b", "a"]), np.array([0, 1, 0, 2, 3])
    read, there = find_neighbours(stacks, pages, window=3)
    assert read.tolist() == [[0, 0, 1], [0, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]]
    assert there.tolist() == [
        [False, True, True],
        [True, True, False],
        [False, True, False],
        [False, True, False],
        [False, True, False],
    ]
    read, there = find_neighbours(stacks, pages, window=5)
    assert read[2].tolist() == [2, 2, 2, 2, 3]
    assert there[2].tolist() == [False, False, True, False, True]


def test_pages_of_a_window_share_their_draw_and_windows_do_not():
    augment = PageAugment()
    made = request_pages(
        np.array([[0, 1, 2], [3, 4, 5]]), np.ones((2, 3), bool), augment=augment, seed=1, epoch=2, slots=[7, 8]
    )
    assert [shot.row for shot in made] == [0, 1, 2, 3, 4, 5]
    assert made[0].draw is made[2].draw
    assert made[0].draw.angle != made[3].draw.angle
    assert made[3].draw.angle == draw_page(augment, seed=1, epoch=2, slot=8).angle


def test_draws_stay_within_what_was_asked_and_all_off_is_still():
    augment = PageAugment(angle=10, brightness=0.1, contrast=0.3)
    drawn = [draw_page(augment, seed=0, epoch=0, slot=slot) for slot in range(400)]
    assert max(abs(d.angle) for d in drawn) <= 10
    assert {round(d.brightness, 6) == 1.0 for d in drawn} == {True, False}
    assert all(0.9 <= d.brightness <= 1.1 and 0.7 <= d.contrast <= 1.3 for d in drawn)
    assert 0.4 < np.mean([d.flip_x for d in drawn]) < 0.6
    off = PageAugment(flip_p=0, angle=0, brightness_p=0, contrast_p=0, noise_p=0)
    assert draw_page(off, seed=0, epoch=0, slot=3) == draw()
