"""Steps of the photograph graph beside geometry: colour, filters, and each rarer step by itself."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from tarpon.pipelines.photo.banks import GRAIN_SD, PatternBank
from tarpon.shards.sampling import photo_matrices as made
from tarpon.shards.sampling.photo_draws import IDENTITY_DRAW, ColourJitter, PixelDropout, SensorNoise, Spatter

SIZE = 64


def test_colour_is_its_matrix_and_leaves_the_border_black(vary, photo):
    colour = made.compose_colours(
        made.jitter_matrix(brightness=1.2, contrast=0.7, saturation=1.2, hue=0.05), made.tint_matrix(0.5, 0.3)
    )
    still, got = vary(photo, IDENTITY_DRAW, replace(IDENTITY_DRAW, colour=colour.astype(np.float32)))
    inside = slice(8, 56)
    want = np.clip(still[inside] @ colour[:, :3].T + colour[:, 3], 0, 255)
    np.testing.assert_allclose(got[inside], want, atol=0.01)
    assert np.abs(want - still[inside]).mean() > 10
    assert (got[:8] == 0).all()
    assert (got[56:] == 0).all()


@pytest.mark.parametrize(
    ("contrast", "saturation", "hue"), [(0.8, 1.0, 0.0), (1.0, 1.3, 0.1), (1.2, 0.7, -0.1), (0.9, 0.0, 0.0)]
)
def test_a_twist_is_its_matrix(contrast, saturation, hue, vary, photo):
    """DALI has two ways to do it; the one number more that its YIQ has makes 0.7 grey levels."""
    jitter = ColourJitter(brightness=1.1, contrast=contrast, saturation=saturation, hue=hue)
    by_matrix = replace(IDENTITY_DRAW, colour=jitter.matrix().astype(np.float32))
    still, one, other = vary(photo, IDENTITY_DRAW, by_matrix, replace(by_matrix, jitter=jitter))
    np.testing.assert_allclose(one, other, atol=0.8)
    assert np.abs(one - still).mean() > 5


def test_white_stays_white(vary):
    jitter = ColourJitter(brightness=1.5, contrast=1, saturation=1, hue=0)
    bright = replace(IDENTITY_DRAW, colour=jitter.matrix().astype(np.float32))
    for got in vary(np.full((64, 64, 3), 250, np.uint8), bright, replace(bright, jitter=jitter)):
        assert (got == 255).all()


def test_clahe_raises_local_contrast_by_its_share(smooth, vary):
    dull = (100 + smooth(128, 128, sd=1.5) / 12).astype(np.uint8)
    still, half, whole = vary(
        dull, IDENTITY_DRAW, replace(IDENTITY_DRAW, clahe=0.5), replace(IDENTITY_DRAW, clahe=1.0), size=128
    )
    spread = [(image.mean(-1) - ndimage.uniform_filter(image.mean(-1), 15)).std() for image in (still, half, whole)]
    assert spread[0] * 1.3 < spread[1] < spread[2]
    np.testing.assert_allclose(half, (still + whole) / 2, atol=0.51)


@pytest.mark.parametrize(
    "kernel",
    [
        made.blur_kernel(1.3),
        made.motion_kernel(7, 30),
        made.sharpen_kernel(0.8),
        made.compose_kernels(made.motion_kernel(5, 80), made.sharpen_kernel(0.5)),
    ],
)
def test_filters_are_those_of_scipy(kernel, vary, photo):
    still, got = vary(photo, IDENTITY_DRAW, replace(IDENTITY_DRAW, kernel=kernel.astype(np.float32)))
    want = np.stack([ndimage.correlate(still[..., c], kernel, mode="mirror") for c in range(3)], -1)
    np.testing.assert_allclose(got, np.clip(want, 0, 255), atol=0.05)


@pytest.mark.parametrize(("angle", "axis"), [(0, 1), (90, 0)])
def test_motion_takes_detail_along_its_way(angle, axis, vary):
    kernel = made.motion_kernel(7, angle).astype(np.float32)
    sharp = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    still, got = vary(sharp, IDENTITY_DRAW, replace(IDENTITY_DRAW, kernel=kernel))
    along, across = (
        np.abs(np.diff(got, axis=way)).mean() / np.abs(np.diff(still, axis=way)).mean() for way in (axis, 1 - axis)
    )
    assert along < 0.5 * across


def test_sharpening_raises_detail(vary, photo):
    still, got = vary(photo, IDENTITY_DRAW, replace(IDENTITY_DRAW, kernel=made.sharpen_kernel(1.0).astype(np.float32)))
    assert np.abs(np.diff(got[10:54], axis=1)).mean() > 1.03 * np.abs(np.diff(still[10:54], axis=1)).mean()


@pytest.mark.parametrize("kind", [0.0, 0.5])
def test_spatter_covers_with_its_colour_as_far_as_its_pattern_says(kind, smooth, vary):
    spatter = Spatter(offset=(0.3, 0.7), pattern=kind, opacity=0.6, colour=(90.0, 120.0, 80.0))
    still, got = vary(smooth(SIZE, SIZE), IDENTITY_DRAW, replace(IDENTITY_DRAW, spatter=spatter))
    cover = PatternBank(size=SIZE).crop_haze(kind, (0.3, 0.7)) / 255 * 0.6
    np.testing.assert_allclose(got, still * (1 - cover) + cover * (90, 120, 80), atol=0.01)
    assert 0.05 < cover.mean() < 0.5
    assert cover.std() > 0.05


def test_grain_has_its_strength_in_brightness_and_colour(vary):
    flat = np.full((SIZE, SIZE, 3), 128, np.uint8)
    draws = [
        SensorNoise(offset=(0.2, 0.6), luma=0.05, chroma=0.0),
        SensorNoise(offset=(0.2, 0.6), luma=0.0, chroma=0.03),
        SensorNoise(offset=(0.3, 0.6), luma=0.05, chroma=0.0),
    ]
    luma, chroma, other = vary(flat, *(replace(IDENTITY_DRAW, grain=grain) for grain in draws))
    assert luma.std() == pytest.approx(0.05 * 255, rel=0.05)
    assert luma.mean() == pytest.approx(128, abs=1)
    assert (luma == luma[..., :1]).all()
    assert chroma.std() == pytest.approx(0.03 * 255, rel=0.05)
    assert abs(np.corrcoef(chroma[..., 0].ravel(), chroma[..., 1].ravel())[0, 1]) < 0.05
    assert np.abs(other - luma).mean() > 5
    assert PatternBank(size=SIZE).grain.values.std() == pytest.approx(GRAIN_SD, rel=0.02)


def test_haze_and_grain_end_where_the_photograph_does(vary, photo):
    spatter = Spatter(offset=(0.3, 0.7), pattern=0.0, opacity=0.6, colour=(200.0, 200.0, 200.0))
    grain = SensorNoise(offset=(0.1, 0.2), luma=0.1, chroma=0.1)
    nearer = made.affine_matrix(angle=20, shear_x=5, shear_y=-4, scale=1.2, shift_x=0.05, shift_y=-0.03)
    warp = replace(IDENTITY_DRAW, matrix=nearer, zoom=made.measure_zoom(nearer))
    still, got = vary(photo + np.uint8(1), warp, replace(warp, spatter=spatter, grain=grain))
    beyond = still.max(-1) == 0
    assert 0.1 < beyond.mean() < 0.6
    assert (got[beyond] == 0).all()
    assert np.abs(got - still)[~beyond].mean() > 10


def test_a_jpeg_of_less_quality_is_farther_from_the_photograph(smooth, vary):
    still, good, bad = vary(
        smooth(64, 64, sd=1), IDENTITY_DRAW, replace(IDENTITY_DRAW, jpeg=95), replace(IDENTITY_DRAW, jpeg=20)
    )
    assert 0.2 < np.abs(good - still).mean() < np.abs(bad - still).mean() / 2


def test_boxes_are_filled_and_nothing_else(vary, photo):
    boxes = np.array([[0.25, 0.5, 0.125, 0.25], [0.75, 0.0, 0.25, 0.125]], np.float32)
    work = [
        IDENTITY_DRAW,
        replace(IDENTITY_DRAW, boxes=boxes, fill=(10.0, 20.0, 30.0)),
        replace(IDENTITY_DRAW, boxes=boxes[:1], fill=(1.0, 2.0, 3.0)),
    ]
    still, two, one = vary(photo, *work)
    first, second = (slice(16, 24), slice(32, 48)), (slice(48, 64), slice(0, 8))
    still_two, still_one = still.copy(), still.copy()
    still_two[first], still_two[second], still_one[first] = (10, 20, 30), (10, 20, 30), (1, 2, 3)
    np.testing.assert_allclose(two, still_two, atol=1e-3)
    np.testing.assert_allclose(one, still_one, atol=1e-3)


def test_single_pixels_go_black(vary):
    bright = np.full((SIZE, SIZE, 3), 200, np.uint8)
    draws = [replace(IDENTITY_DRAW, dropout=PixelDropout(offset=place, share=0.1)) for place in (0.1, 0.9)]
    one, other = vary(bright, *draws)
    assert set(np.unique(one)) == {0.0, 200.0}
    assert (one == one[..., :1]).all()
    assert (one == 0).mean() == pytest.approx(0.1, abs=0.02)
    assert not np.array_equal(one, other)
