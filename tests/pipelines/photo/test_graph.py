"""Photographs through the graph: letterbox, one warp, one colour matrix, one kernel, and each rarer step by itself."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Loader
from tarpon.pipelines.photo.banks import GRAIN_SD, PatternBank
from tarpon.pipelines.photo.feed import PhotoFields, PhotoRequest, pixel_matrix, request_photos
from tarpon.pipelines.photo.graph import PhotoGraph
from tarpon.shards.quarantine import Budget
from tarpon.shards.sampling import photo_matrices as made
from tarpon.shards.sampling.photo_augment import PhotoAugment, underwater, wildlife
from tarpon.shards.sampling.photo_draws import IDENTITY_DRAW, ColourJitter, PhotoDraw, PixelDropout, SensorNoise, Spatter

SIZE = 64
# grey levels. Pillow rounds between its two passes over rows and columns, DALI once at the end: 8 at most where made 8 times
# smaller; a pixel aside differs by 10 and more on average
RESIZED_MEAN, RESIZED_MOST = 0.6, 12
# OpenCV weighs neighbours in 32nds of a pixel, in the graph as in the oracle; what differs is the resize before it
WARPED_MEAN, WARPED_MOST = 0.8, 8


class Contents:
    """A reader of encoded photographs held in memory."""

    def __init__(self, encoded: list[bytes]) -> None:
        self._encoded = encoded

    def read(self, row: int, column: str) -> bytes:
        assert column == "jpg"
        return self._encoded[row]


def encode(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", **options)
    return buffer.getvalue()


def smooth(height: int, width: int, *, sd: float = 2.0, seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((height, width, 3)), (sd, sd, 0))
    return (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)


def loader(contents: list[bytes], *, batch: int, size: int = SIZE, augment: bool = True) -> Loader:
    fields = PhotoFields(size=size, mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)  # delivers grey levels
    feed = Feed(SimpleNamespace(), Contents(contents), fields, pool=np.arange(len(contents)), budget=Budget(0))
    return Loader(PhotoGraph(batch=batch, size=size, augment=augment), feed, device=None, threads=1)


def delivered(contents: list[bytes], work: list[PhotoRequest], **options) -> np.ndarray:
    """(B, H, W, 3) grey levels."""
    (batch,) = loader(contents, batch=len(work), **options).run([work])
    return batch["image"].numpy().transpose(0, 2, 3, 1).copy()


def varied(pixels: np.ndarray, *draws: PhotoDraw, size: int = SIZE) -> np.ndarray:
    return delivered([encode(pixels)], [PhotoRequest(row=0, draw=draw) for draw in draws], size=size)


def geometry(matrix: np.ndarray) -> PhotoDraw:
    return replace(IDENTITY_DRAW, matrix=matrix, zoom=made.measure_zoom(matrix))


def letterboxed(pixels: np.ndarray, size: int = SIZE) -> np.ndarray:
    """By Pillow."""
    square, small = Image.new("RGB", (size, size)), resized(pixels, size)
    square.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    return np.asarray(square, float)


def resized(pixels: np.ndarray, longest: int) -> Image.Image:
    """By Pillow, its longest side that long."""
    height, width = (max(1, int(side * longest / max(pixels.shape[:2]) + 0.5)) for side in pixels.shape[:2])
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)


PHOTO = smooth(60, 80)
NEARER = made.affine_matrix(angle=20, shear_x=5, shear_y=-4, scale=1.2, shift_x=0.05, shift_y=-0.03)
ASKEW = made.perspective_matrix(np.array([[0.05, 0.02], [-0.03, 0.06], [0.04, -0.05], [-0.06, 0.03]]))


@pytest.mark.parametrize("shape", [(60, 80), (80, 61), (64, 64), (500, 333), (37, 200), (20, 30), (300, 1)])
def test_evaluation_shows_the_whole_photograph_on_black(shape):
    pixels = smooth(*shape)
    (got,) = delivered([encode(pixels)], [PhotoRequest(row=0)], augment=False)
    difference = np.abs(got - letterboxed(pixels))
    assert difference.mean() < RESIZED_MEAN
    assert difference.max() < RESIZED_MOST


@pytest.mark.parametrize("shape", [(60, 80), (81, 61), (500, 333), (20, 30)])
def test_training_without_a_draw_is_evaluation(shape):
    contents = [encode(smooth(*shape))]
    (evaluated,) = delivered(contents, [PhotoRequest(row=0)], augment=False)
    trained = delivered(contents, [PhotoRequest(row=0), *request_photos([0], augments=(PhotoAugment(),), slots=[5])])
    for image in trained:
        np.testing.assert_allclose(image, evaluated, atol=1e-3)


def test_a_photograph_is_turned_upright_as_its_camera_says():
    tag = Image.Exif()
    tag[0x0112] = 6  # to be turned by 90 degrees clockwise
    contents = [encode(PHOTO, exif=tag), encode(np.rot90(PHOTO, -1))]
    work = [PhotoRequest(row=0), PhotoRequest(row=1)]
    for augment in (False, True):
        tagged, upright = delivered(contents, work, augment=augment)
        np.testing.assert_array_equal(tagged, upright)


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
def test_flips_and_quarter_turns_by_numpy(quarters, flip_x, flip_y):
    still, got = varied(PHOTO, IDENTITY_DRAW, geometry(made.flip_rotate_matrix(quarters, flip_x=flip_x, flip_y=flip_y)))
    want = np.rot90(still, quarters)
    want = want[:, ::-1] if flip_x else want
    want = want[::-1] if flip_y else want
    np.testing.assert_allclose(got, want, atol=0.1)


@pytest.mark.parametrize(
    "matrix", [NEARER, ASKEW, ASKEW @ NEARER, made.crop_matrix(1.4, 0.9, 0.3, 0.8), made.crop_matrix(0.7, 1.2, 0, 1)]
)
@pytest.mark.parametrize("shape", [(60, 80), (465, 620)])
def test_geometry_is_that_of_opencv(matrix, shape):
    """The oracle resizes to the scale that will be shown, then warps."""
    cv2 = pytest.importorskip("cv2")
    pixels = smooth(*shape, sd=shape[0] / 30)
    (got,) = varied(pixels, geometry(matrix))
    target = min(int(SIZE * made.measure_zoom(matrix) + 0.5), max(*shape, SIZE))
    width, height = resized(pixels, SIZE).size
    corner = np.array([[1, 0, -((SIZE - width) // 2)], [0, 1, -((SIZE - height) // 2)], [0, 0, 1]])
    middle = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV counts from the middle of the first pixel
    larger = np.diag([target / SIZE, target / SIZE, 1])
    moved = np.linalg.inv(middle) @ larger @ corner @ pixel_matrix(matrix, SIZE) @ middle
    picture = np.asarray(resized(pixels, target), np.float32)
    want = cv2.warpPerspective(picture, moved, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    inside = ndimage.minimum_filter(want.min(-1) > 0, 5)  # the photograph's edge may lie half a pixel aside
    difference = np.abs(got - want)[inside]
    assert inside.mean() > 0.4
    assert difference.mean() < WARPED_MEAN
    assert difference.max() < WARPED_MOST


@pytest.mark.parametrize("matrix", [NEARER, ASKEW, NEARER @ ASKEW])
def test_points_land_where_the_matrix_says(matrix):
    """Found as bright spots, with no warp to compare with."""
    size, places = 128, np.array([[-0.2, -0.15], [0.25, -0.1], [0.1, 0.2], [-0.3, 0.22]])
    for place in places:
        spot = np.zeros((256, 256, 3), np.uint8)
        x, y = (256 * (place + 0.5)).astype(int)
        spot[y - 4 : y + 4, x - 4 : x + 4] = 255
        (got,) = varied(spot, geometry(matrix), size=size)
        row, column = ndimage.center_of_mass(got.sum(-1))
        there = np.linalg.inv(matrix) @ (x / 256 - 0.5, y / 256 - 0.5, 1)
        assert (column + 0.5) / size - 0.5 == pytest.approx(there[0] / there[2], abs=0.3 / size)
        assert (row + 0.5) / size - 0.5 == pytest.approx(there[1] / there[2], abs=0.3 / size)


def test_fine_stripes_become_grey_and_no_coarse_ones():
    stripes = np.zeros((600, 800, 3), np.uint8)
    stripes[:, ::3] = 240
    turned = geometry(made.affine_matrix(angle=7, shear_x=0, shear_y=0, scale=0.8, shift_x=0, shift_y=0))
    (got,) = varied(stripes, turned)
    assert got[24:40, 16:48].std() < 4  # a warp straight from the file leaves 60


def test_colour_is_its_matrix_and_leaves_the_border_black():
    colour = made.compose_colours(
        made.jitter_matrix(brightness=1.2, contrast=0.7, saturation=1.2, hue=0.05), made.tint_matrix(0.5, 0.3)
    )
    still, got = varied(PHOTO, IDENTITY_DRAW, replace(IDENTITY_DRAW, colour=colour.astype(np.float32)))
    inside = slice(8, 56)
    want = np.clip(still[inside] @ colour[:, :3].T + colour[:, 3], 0, 255)
    np.testing.assert_allclose(got[inside], want, atol=0.01)
    assert np.abs(want - still[inside]).mean() > 10
    assert (got[:8] == 0).all()
    assert (got[56:] == 0).all()


@pytest.mark.parametrize(
    ("contrast", "saturation", "hue"), [(0.8, 1.0, 0.0), (1.0, 1.3, 0.1), (1.2, 0.7, -0.1), (0.9, 0.0, 0.0)]
)
def test_a_twist_is_its_matrix(contrast, saturation, hue):
    """DALI has two ways to do it; the one number more that its YIQ has makes 0.7 grey levels."""
    jitter = ColourJitter(brightness=1.1, contrast=contrast, saturation=saturation, hue=hue)
    by_matrix = replace(IDENTITY_DRAW, colour=jitter.matrix().astype(np.float32))
    still, one, other = varied(PHOTO, IDENTITY_DRAW, by_matrix, replace(by_matrix, jitter=jitter))
    np.testing.assert_allclose(one, other, atol=0.8)
    assert np.abs(one - still).mean() > 5


def test_white_stays_white():
    jitter = ColourJitter(brightness=1.5, contrast=1, saturation=1, hue=0)
    bright = replace(IDENTITY_DRAW, colour=jitter.matrix().astype(np.float32))
    for got in varied(np.full((64, 64, 3), 250, np.uint8), bright, replace(bright, jitter=jitter)):
        assert (got == 255).all()


def test_clahe_raises_local_contrast_by_its_share():
    dull = (100 + smooth(128, 128, sd=1.5) / 12).astype(np.uint8)
    still, half, whole = varied(
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
def test_filters_are_those_of_scipy(kernel):
    still, got = varied(PHOTO, IDENTITY_DRAW, replace(IDENTITY_DRAW, kernel=kernel.astype(np.float32)))
    want = np.stack([ndimage.correlate(still[..., c], kernel, mode="mirror") for c in range(3)], -1)
    np.testing.assert_allclose(got, np.clip(want, 0, 255), atol=0.05)


@pytest.mark.parametrize(("angle", "axis"), [(0, 1), (90, 0)])
def test_motion_takes_detail_along_its_way(angle, axis):
    kernel = made.motion_kernel(7, angle).astype(np.float32)
    sharp = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    still, got = varied(sharp, IDENTITY_DRAW, replace(IDENTITY_DRAW, kernel=kernel))
    along, across = (
        np.abs(np.diff(got, axis=way)).mean() / np.abs(np.diff(still, axis=way)).mean() for way in (axis, 1 - axis)
    )
    assert along < 0.5 * across


def test_sharpening_raises_detail():
    still, got = varied(PHOTO, IDENTITY_DRAW, replace(IDENTITY_DRAW, kernel=made.sharpen_kernel(1.0).astype(np.float32)))
    assert np.abs(np.diff(got[10:54], axis=1)).mean() > 1.03 * np.abs(np.diff(still[10:54], axis=1)).mean()


@pytest.mark.parametrize("kind", [0.0, 0.5])
def test_spatter_covers_with_its_colour_as_far_as_its_pattern_says(kind):
    spatter = Spatter(offset=(0.3, 0.7), pattern=kind, opacity=0.6, colour=(90.0, 120.0, 80.0))
    still, got = varied(smooth(SIZE, SIZE), IDENTITY_DRAW, replace(IDENTITY_DRAW, spatter=spatter))
    cover = PatternBank(size=SIZE).crop_haze(kind, (0.3, 0.7)) / 255 * 0.6
    np.testing.assert_allclose(got, still * (1 - cover) + cover * (90, 120, 80), atol=0.01)
    assert 0.05 < cover.mean() < 0.5
    assert cover.std() > 0.05


def test_grain_has_its_strength_in_brightness_and_colour():
    flat = np.full((SIZE, SIZE, 3), 128, np.uint8)
    draws = [
        SensorNoise(offset=(0.2, 0.6), luma=0.05, chroma=0.0),
        SensorNoise(offset=(0.2, 0.6), luma=0.0, chroma=0.03),
        SensorNoise(offset=(0.3, 0.6), luma=0.05, chroma=0.0),
    ]
    luma, chroma, other = varied(flat, *(replace(IDENTITY_DRAW, grain=grain) for grain in draws))
    assert luma.std() == pytest.approx(0.05 * 255, rel=0.05)
    assert luma.mean() == pytest.approx(128, abs=1)
    assert (luma == luma[..., :1]).all()
    assert chroma.std() == pytest.approx(0.03 * 255, rel=0.05)
    assert abs(np.corrcoef(chroma[..., 0].ravel(), chroma[..., 1].ravel())[0, 1]) < 0.05
    assert np.abs(other - luma).mean() > 5
    assert PatternBank(size=SIZE).grain.values.std() == pytest.approx(GRAIN_SD, rel=0.02)


def test_haze_and_grain_end_where_the_photograph_does():
    spatter = Spatter(offset=(0.3, 0.7), pattern=0.0, opacity=0.6, colour=(200.0, 200.0, 200.0))
    grain = SensorNoise(offset=(0.1, 0.2), luma=0.1, chroma=0.1)
    draw = replace(geometry(NEARER), spatter=spatter, grain=grain)
    still, got = varied(PHOTO + np.uint8(1), geometry(NEARER), draw)
    beyond = still.max(-1) == 0
    assert 0.1 < beyond.mean() < 0.6
    assert (got[beyond] == 0).all()
    assert np.abs(got - still)[~beyond].mean() > 10


def test_a_jpeg_of_less_quality_is_farther_from_the_photograph():
    still, good, bad = varied(
        smooth(64, 64, sd=1), IDENTITY_DRAW, replace(IDENTITY_DRAW, jpeg=95), replace(IDENTITY_DRAW, jpeg=20)
    )
    assert 0.2 < np.abs(good - still).mean() < np.abs(bad - still).mean() / 2


def test_boxes_are_filled_and_nothing_else():
    boxes = np.array([[0.25, 0.5, 0.125, 0.25], [0.75, 0.0, 0.25, 0.125]], np.float32)
    work = [
        IDENTITY_DRAW,
        replace(IDENTITY_DRAW, boxes=boxes, fill=(10.0, 20.0, 30.0)),
        replace(IDENTITY_DRAW, boxes=boxes[:1], fill=(1.0, 2.0, 3.0)),
    ]
    still, two, one = varied(PHOTO, *work)
    first, second = (slice(16, 24), slice(32, 48)), (slice(48, 64), slice(0, 8))
    still_two, still_one = still.copy(), still.copy()
    still_two[first], still_two[second], still_one[first] = (10, 20, 30), (10, 20, 30), (1, 2, 3)
    np.testing.assert_allclose(two, still_two, atol=1e-3)
    np.testing.assert_allclose(one, still_one, atol=1e-3)


def test_single_pixels_go_black():
    bright = np.full((SIZE, SIZE, 3), 200, np.uint8)
    draws = [replace(IDENTITY_DRAW, dropout=PixelDropout(offset=place, share=0.1)) for place in (0.1, 0.9)]
    one, other = varied(bright, *draws)
    assert set(np.unique(one)) == {0.0, 200.0}
    assert (one == one[..., :1]).all()
    assert (one == 0).mean() == pytest.approx(0.1, abs=0.02)
    assert not np.array_equal(one, other)


@pytest.fixture(scope="module")
def contents() -> list[bytes]:
    return [encode(smooth(60 + 7 * i, 90 - 5 * i, seed=i)) for i in range(6)]


def everything(rows: list[int], slots: list[int]) -> list[PhotoRequest]:
    """Both sets in one batch, the underwater one with all it has."""
    always = {name: 1.0 for name in vars(underwater()) if name.endswith("_p")} | {"grey_p": 0.0}
    return request_photos(rows, augments=(wildlife(), replace(underwater(), **always)), sets=[r % 2 for r in rows], slots=slots)


def test_a_draw_gives_its_pixels_again_wherever_it_stands_and_whoever_is_beside_it(contents):
    work = everything([0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15])
    together = delivered(contents, work)
    np.testing.assert_array_equal(together, delivered(contents, work))
    np.testing.assert_array_equal(together[::-1], delivered(contents, work[::-1]))
    for place in (2, 3):
        (alone,) = delivered(contents, [work[place]])
        np.testing.assert_array_equal(alone, together[place])
    other = delivered(contents, everything([0, 1, 2, 3, 4, 5], [20, 21, 22, 23, 24, 25]))
    assert (np.abs(other - together).mean((1, 2, 3)) > 5).all()


def test_a_short_last_batch_and_padding_are_told_by_their_rows(contents):
    run = loader(contents, batch=4)
    work = [
        request_photos([0, 1, 2, 3], augments=(wildlife(),), slots=range(4)),
        request_photos([4, -1, -1, -1], augments=(wildlife(),), slots=range(4)),
    ]
    for _ in range(2):  # a loader can be run again
        assert [batch["row"].tolist() for batch in run.run(work)] == [[0, 1, 2, 3], [4, -1, -1, -1]]


def test_what_is_delivered_is_normalised(contents):
    fields = PhotoFields(size=SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))
    feed = Feed(SimpleNamespace(), Contents(contents), fields, pool=np.arange(1), budget=Budget(0))
    (batch,) = Loader(PhotoGraph(batch=1, size=SIZE), feed, device=None, threads=1).run([[PhotoRequest(row=0)]])
    (grey,) = delivered(contents, [PhotoRequest(row=0)])
    want = (grey / 255 - (0.5, 0.4, 0.3)) / (0.2, 0.25, 0.5)
    np.testing.assert_allclose(batch["image"].numpy()[0].transpose(1, 2, 0), want, atol=1e-5)


def test_sets_go_to_the_rows_that_ask_for_them():
    made_of = request_photos([3, 4, -1], augments=(PhotoAugment(), wildlife()), sets=[0, 1, 1], slots=[7, 8, 9])
    assert [shot.row for shot in made_of] == [3, 4, -1]
    assert np.array_equal(made_of[0].draw.matrix, np.eye(3))
    assert made_of[1].draw.colour is not None
    assert made_of[2].draw is IDENTITY_DRAW
    assert all(shot.draw is IDENTITY_DRAW for shot in request_photos([1, 2]))


def test_a_square_too_small_is_refused():
    with pytest.raises(ValueError, match="image_size=4 must be 8 or more"):
        PhotoGraph(batch=1, size=4)


@pytest.mark.gpu
def test_a_gpu_gives_the_pixels_of_a_cpu(contents):
    work = everything([0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15])
    fields = PhotoFields(size=SIZE, mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)
    feed = Feed(SimpleNamespace(), Contents(contents), fields, pool=np.arange(6), budget=Budget(0))
    (batch,) = Loader(PhotoGraph(batch=6, size=SIZE), feed, device=0, threads=1).run([work])
    assert batch["image"].is_cuda
    on_gpu = batch["image"].cpu().numpy().transpose(0, 2, 3, 1)
    # grey levels: JPEG, CLAHE and the weights of a warp are rounded otherwise on a GPU
    assert np.abs(on_gpu - delivered(contents, work)).mean() < 2
