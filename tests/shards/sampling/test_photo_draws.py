"""Draws of photographs: within what was asked, centred, keyed; matrices and kernels by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import signal

from tarpon.shards.sampling import photo_matrices as made
from tarpon.shards.sampling.photo_augment import PhotoAugment, underwater, wildlife
from tarpon.shards.sampling.photo_draws import IDENTITY_DRAW, PhotoDraw, draw_photo

SETS = {"wildlife": wildlife(), "underwater": underwater()}
OPTIONAL = ("colour", "clahe", "kernel", "spatter", "grain", "jpeg", "dropout")


def drawn(augment: PhotoAugment, count: int = 400) -> list[PhotoDraw]:
    return [draw_photo(augment, seed=1, epoch=2, slot=slot) for slot in range(count)]


def assert_same(one: object, other: object) -> None:
    for name, value in vars(one).items():
        if hasattr(value, "__dataclass_fields__"):
            assert_same(value, getattr(other, name))
        else:
            assert np.array_equal(value, getattr(other, name)), name


@pytest.mark.parametrize("augment", [PhotoAugment(), replace(underwater(), enabled=False)])
def test_nothing_asked_is_nothing_done(augment):
    for draw in drawn(augment, 5):
        assert_same(replace(draw, fill=IDENTITY_DRAW.fill), IDENTITY_DRAW)  # no box has that colour


@pytest.mark.parametrize("name", SETS)
def test_a_key_gives_its_draw_and_another_key_another(name):
    draw = draw_photo(SETS[name], seed=1, epoch=2, slot=3)
    assert_same(draw, draw_photo(SETS[name], seed=1, epoch=2, slot=3))
    for other in ({"seed": 2}, {"epoch": 3}, {"slot": 4}):
        assert not np.array_equal(draw_photo(SETS[name], **{"seed": 1, "epoch": 2, "slot": 3} | other).matrix, draw.matrix)


@pytest.mark.parametrize("name", SETS)
def test_animals_are_as_large_in_training_as_in_evaluation(name):
    logs = np.log([draw.zoom for draw in drawn(SETS[name], 1500)])
    assert abs(np.median(logs)) < 0.03
    assert abs(logs.mean()) < 0.03
    assert 0.05 < logs.std() < 0.3


def test_each_part_is_drawn_as_often_as_asked():
    draws = drawn(underwater(), 2000)
    shares = {name: np.mean([getattr(draw, name) is not None for draw in draws]) for name in OPTIONAL}
    sharp_or_soft = 1 - 0.92 * 0.92 * 0.8
    want = {"colour": 1 - 0.65 * 0.9 * 0.7, "clahe": 0.2, "kernel": sharp_or_soft, "spatter": 0.15, "grain": 0.13, "jpeg": 0.07}
    for name, share in (want | {"dropout": 0.1}).items():
        assert shares[name] == pytest.approx(share, abs=3.5 * math.sqrt(share / 2000)), name
    assert np.mean([len(draw.boxes) > 0 for draw in draws]) == pytest.approx(1 - 0.8 * 0.8, abs=0.04)


def test_switching_one_part_off_leaves_the_others():
    for with_all, without in zip(drawn(underwater(), 60), drawn(replace(underwater(), clahe_p=0, jitter_p=0), 60), strict=True):
        assert without.clahe is None
        assert np.array_equal(with_all.matrix, without.matrix)
        assert np.array_equal(with_all.boxes, without.boxes)
        assert (with_all.kernel is None) == (without.kernel is None)


@pytest.mark.parametrize("name", SETS)
def test_one_sided_species_are_turned_and_never_mirrored(name):
    mirrored = [np.linalg.det(draw.matrix) < 0 for draw in drawn(SETS[name])]
    assert 0.4 < np.mean(mirrored) < 0.6
    assert not any(np.linalg.det(draw.matrix) < 0 for draw in drawn(SETS[name].without_mirroring()))


def test_boxes_lie_inside_and_have_the_area_asked_for():
    augment = PhotoAugment(holes_p=1, holes=(3, 7), hole=(0.01, 0.05), erase_p=1, erase=(0.02, 0.15), erase_aspect=(0.5, 2))
    for draw in drawn(augment, 200):
        small, large = draw.boxes[:-1], draw.boxes[-1]
        assert 3 <= len(small) <= 7
        assert ((small[:, 2:] >= 0.01) & (small[:, 2:] <= 0.0501)).all()
        assert 0.0199 < large[2] * large[3] < 0.1501
        assert 0.499 < large[3] / large[2] < 2.001
        assert (draw.boxes[:, :2] >= 0).all()
        assert (draw.boxes[:, :2] + draw.boxes[:, 2:] <= 1 + 1e-6).all()


def test_colours_stay_linear_by_hand():
    factor = made.jitter_matrix(brightness=1.2, contrast=1, saturation=1, hue=0)
    np.testing.assert_allclose(factor @ (10, 20, 30, 1), (12, 24, 36))
    contrast = made.jitter_matrix(brightness=1, contrast=0.5, saturation=1, hue=0)
    np.testing.assert_allclose(contrast @ (128, 28, 228, 1), (128, 78, 178))
    np.testing.assert_allclose(made.jitter_matrix(brightness=1, contrast=1, saturation=0, hue=0), made.grey_matrix(), atol=1e-3)
    turned = made.jitter_matrix(brightness=1, contrast=1, saturation=1.2, hue=0.08)
    np.testing.assert_allclose(turned @ (80, 80, 80, 1), (80, 80, 80), atol=1e-9)  # grey has no hue
    assert made.LUMA @ (turned @ (200, 60, 10, 1)) == pytest.approx(made.LUMA @ (200, 60, 10), rel=2e-3)
    both = made.compose_colours(factor, contrast)
    np.testing.assert_allclose(both @ (10, 20, 30, 1), contrast @ np.append(factor @ (10, 20, 30, 1), 1))


@pytest.mark.parametrize("clear", [0.0, 0.5, 1.0])
def test_water_takes_red_and_adds_its_own_light(clear):
    shallow, deep = (made.tint_matrix(depth, clear) @ (180, 120, 90, 1) for depth in (0.2, 0.8))
    assert deep[0] < shallow[0] < 180
    assert deep[0] / deep[2] < shallow[0] / shallow[2] < 2
    dark = made.tint_matrix(0.8, clear) @ (10, 10, 10, 1)
    assert dark[1] > 15
    assert dark[2] > 15
    for corner in np.ndindex(2, 2, 2):
        level = made.tint_matrix(0.8, clear) @ np.append(255 * np.array(corner), 1)
        assert ((level >= 0) & (level <= 255)).all()


def test_geometry_by_hand():
    top_right = np.array([0.5, -0.5, 1])
    np.testing.assert_allclose(
        made.flip_rotate_matrix(1, flip_x=False, flip_y=False) @ top_right, (0.5, 0.5, 1)
    )  # shows what was below
    np.testing.assert_allclose(made.flip_rotate_matrix(0, flip_x=True, flip_y=False) @ top_right, (-0.5, -0.5, 1))
    np.testing.assert_allclose(made.crop_matrix(0.25, 1, 1, 0) @ top_right, (0.5, -0.5, 1))  # the quarter there
    nearer = made.affine_matrix(angle=0, shear_x=0, shear_y=0, scale=2, shift_x=0.1, shift_y=0)
    np.testing.assert_allclose(nearer @ (0.1, 0.2, 1), (0, 0.1, 1), atol=1e-12)  # the middle has moved right by 0.1
    assert made.measure_zoom(nearer) == pytest.approx(2)
    quarter = made.affine_matrix(angle=90, shear_x=0, shear_y=0, scale=1, shift_x=0, shift_y=0)
    np.testing.assert_allclose(quarter, made.flip_rotate_matrix(1, flip_x=False, flip_y=False), atol=1e-12)


def test_a_perspective_takes_corners_where_it_was_told():
    moved = np.array([[0.01, 0.02], [-0.03, 0.04], [0.05, -0.06], [0.0, 0.01]])
    matrix = made.perspective_matrix(moved)
    for corner, move in zip(made.CORNERS, moved, strict=True):
        x, y, w = matrix @ np.append(corner, 1)
        np.testing.assert_allclose((x / w, y / w), corner + move, atol=1e-12)
    step = 1e-6
    places = [matrix @ (x, y, 1) for x, y in ((0, 0), (step, 0), (0, step))]
    middle, right, below = (place[:2] / place[2] for place in places)
    area = abs(np.linalg.det(np.stack([right - middle, below - middle]))) / step**2
    assert made.measure_zoom(matrix) == pytest.approx(area**-0.5, rel=1e-4)


def test_kernels_by_hand():
    for kernel in (made.blur_kernel(0.1), made.blur_kernel(2), made.motion_kernel(5, 30), made.sharpen_kernel(0.7)):
        assert kernel.sum() == pytest.approx(1)
        assert kernel.shape[0] == kernel.shape[1]
        assert kernel.shape[0] % 2 == 1
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)
    level = made.motion_kernel(4, 0)
    assert level.shape == (5, 5)
    assert level[2].sum() == pytest.approx(1)
    np.testing.assert_allclose(made.motion_kernel(4, 90), level.T, atol=1e-12)
    rising = made.motion_kernel(4, 45)  # from bottom left to top right
    assert rising[0, 4] + rising[1, 3] > 10 * (rising[0, 0] + rising[1, 1])
    one, two = made.blur_kernel(0.8), made.sharpen_kernel(0.5)
    np.testing.assert_allclose(made.compose_kernels(one, two), signal.convolve2d(one, two))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"blur_p": 1.5}, r"augment.blur_p=1.5 must be in \[0, 1\]"),
        ({"crop_area": (1.2, 0.8)}, r"augment.crop_area=\(1.2, 0.8\) must be two numbers above 0, the smaller first"),
        ({"brightness": 1.0}, r"augment.brightness=1.0 must be in \[0, 1\)"),
        ({"holes": (1, 13)}, r"augment.holes=\(1, 13\) must stay at or below 12"),
        ({"angle": 200}, r"augment.angle=200 must be in \[0, 180\]"),
    ],
)
def test_mistakes_are_told(given, said):
    with pytest.raises(ValueError, match=said):
        PhotoAugment(**given)
