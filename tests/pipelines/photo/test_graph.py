"""Photographs through the graph: letterbox in evaluation, and all geometry in one warp."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tarpon.pipelines.photo.feed import PhotoRequest, pixel_matrix, request_photos
from tarpon.shards.sampling import photo_matrices as made
from tarpon.shards.sampling.photo_augment import PhotoAugment
from tarpon.shards.sampling.photo_draws import IDENTITY_DRAW, PhotoDraw

SIZE = 64
# grey levels. Pillow rounds between its two passes over rows and columns, DALI once at the end: 8 at most where made 8 times
# smaller; a pixel aside differs by 10 and more on average
RESIZED_MEAN, RESIZED_MOST = 0.6, 12
# OpenCV weighs neighbours in 32nds of a pixel, in the graph as in the oracle; what differs is the resize before it
WARPED_MEAN, WARPED_MOST = 0.8, 8


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


NEARER = made.affine_matrix(angle=20, shear_x=5, shear_y=-4, scale=1.2, shift_x=0.05, shift_y=-0.03)
ASKEW = made.perspective_matrix(np.array([[0.05, 0.02], [-0.03, 0.06], [0.04, -0.05], [-0.06, 0.03]]))


@pytest.mark.parametrize("shape", [(60, 80), (80, 61), (64, 64), (500, 333), (37, 200), (20, 30), (300, 1)])
def test_evaluation_shows_the_whole_photograph_on_black(shape, encode, smooth, deliver):
    pixels = smooth(*shape)
    (got,) = deliver([encode(pixels)], [PhotoRequest(row=0)], augment=False)
    difference = np.abs(got - letterboxed(pixels))
    assert difference.mean() < RESIZED_MEAN
    assert difference.max() < RESIZED_MOST


@pytest.mark.parametrize("shape", [(60, 80), (81, 61), (500, 333), (20, 30)])
def test_training_without_a_draw_is_evaluation(shape, encode, smooth, deliver):
    contents = [encode(smooth(*shape))]
    (evaluated,) = deliver(contents, [PhotoRequest(row=0)], augment=False)
    trained = deliver(contents, [PhotoRequest(row=0), *request_photos([0], augments=(PhotoAugment(),), slots=[5])])
    for image in trained:
        np.testing.assert_allclose(image, evaluated, atol=1e-3)


def test_a_photograph_is_turned_upright_as_its_camera_says(encode, deliver, photo):
    tag = Image.Exif()
    tag[0x0112] = 6  # to be turned by 90 degrees clockwise
    contents = [encode(photo, exif=tag), encode(np.rot90(photo, -1))]
    work = [PhotoRequest(row=0), PhotoRequest(row=1)]
    for augment in (False, True):
        tagged, upright = deliver(contents, work, augment=augment)
        np.testing.assert_array_equal(tagged, upright)


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
def test_flips_and_quarter_turns_by_numpy(quarters, flip_x, flip_y, vary, photo):
    still, got = vary(photo, IDENTITY_DRAW, geometry(made.flip_rotate_matrix(quarters, flip_x=flip_x, flip_y=flip_y)))
    want = np.rot90(still, quarters)
    want = want[:, ::-1] if flip_x else want
    want = want[::-1] if flip_y else want
    np.testing.assert_allclose(got, want, atol=0.1)


@pytest.mark.parametrize(
    "matrix", [NEARER, ASKEW, ASKEW @ NEARER, made.crop_matrix(1.4, 0.9, 0.3, 0.8), made.crop_matrix(0.7, 1.2, 0, 1)]
)
@pytest.mark.parametrize("shape", [(60, 80), (465, 620)])
def test_geometry_is_that_of_opencv(matrix, shape, smooth, vary):
    """The oracle resizes to the scale that will be shown, then warps."""
    cv2 = pytest.importorskip("cv2")
    pixels = smooth(*shape, sd=shape[0] / 30)
    (got,) = vary(pixels, geometry(matrix))
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
def test_points_land_where_the_matrix_says(matrix, vary):
    """Found as bright spots, with no warp to compare with."""
    size, places = 128, np.array([[-0.2, -0.15], [0.25, -0.1], [0.1, 0.2], [-0.3, 0.22]])
    for place in places:
        spot = np.zeros((256, 256, 3), np.uint8)
        x, y = (256 * (place + 0.5)).astype(int)
        spot[y - 4 : y + 4, x - 4 : x + 4] = 255
        (got,) = vary(spot, geometry(matrix), size=size)
        row, column = ndimage.center_of_mass(got.sum(-1))
        there = np.linalg.inv(matrix) @ (x / 256 - 0.5, y / 256 - 0.5, 1)
        assert (column + 0.5) / size - 0.5 == pytest.approx(there[0] / there[2], abs=0.3 / size)
        assert (row + 0.5) / size - 0.5 == pytest.approx(there[1] / there[2], abs=0.3 / size)


def test_fine_stripes_become_grey_and_no_coarse_ones(vary):
    stripes = np.zeros((600, 800, 3), np.uint8)
    stripes[:, ::3] = 240
    turned = geometry(made.affine_matrix(angle=7, shear_x=0, shear_y=0, scale=0.8, shift_x=0, shift_y=0))
    (got,) = vary(stripes, turned)
    assert got[24:40, 16:48].std() < 4  # a warp straight from the file leaves 60
