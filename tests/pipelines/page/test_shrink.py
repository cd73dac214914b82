"""Pages made smaller by whole factors: against the triangle filter in float64, DALI's own resize, and by hand."""

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def, types

from tarpon.pipelines.page.shrink import BLOCK, find_factors, shrink, triangle_weights

FACTORS = [(2, 2), (3, 3), (4, 4), (5, 5), (1, 2), (2, 1), (6, 3)]


def make_page(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, (height, width), dtype=np.uint16)


def make_matrix(stored: int, factor: int) -> np.ndarray:
    """(stored / factor, stored) float64: each output pixel's weights of a triangle of half width `factor`, edges going on."""
    weights = np.zeros((stored // factor, stored))
    for out in range(stored // factor):
        for at in range(-factor, stored + factor):
            weight = max(0.0, factor - abs(at + 0.5 - (out + 0.5) * factor))
            weights[out, min(max(at, 0), stored - 1)] += weight / factor**2
    return weights


def resize_by_dali(page: np.ndarray, height: int, width: int) -> np.ndarray:
    @pipeline_def(batch_size=1, num_threads=1, device_id=None, exec_dynamic=True)
    def pipeline():
        pixels = fn.reinterpret(fn.external_source(lambda: [page[..., None].copy()], batch=True), layout="HWC")
        return fn.resize(pixels, size=[height, width], interp_type=types.INTERP_LINEAR, antialias=True, dtype=types.UINT16)

    built = pipeline()
    built.build()
    return np.asarray(built.run()[0].as_tensor())[0, ..., 0].copy()


@pytest.mark.parametrize("factors", FACTORS)
def test_the_triangle_filter_in_float64(factors):
    rows, columns = factors
    page = make_page(rows * (BLOCK + 9), columns * 12)  # more than one block of rows
    want = make_matrix(len(page), rows) @ page @ make_matrix(page.shape[1], columns).T
    assert np.abs(shrink(page, factors) - want).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("factors", FACTORS)
def test_dali_makes_the_same_within_one_level(factors):
    page = make_page(factors[0] * 20, factors[1] * 24)
    got = shrink(page, factors).astype(int)
    assert np.abs(got - resize_by_dali(page, 20, 24)).max() <= 1


def test_two_pixels_for_one_by_hand():
    page = np.array([[0, 80, 160, 0]], np.uint16)
    # weights 1 3 3 1 of 8, the first and the last pixel going on beyond the edges
    assert shrink(page, (1, 2)).tolist() == [[(0 + 0 + 240 + 160) // 8, (80 + 480 + 0 + 0) // 8]]


def test_weights_by_hand():
    assert [triangle_weights(factor).tolist() for factor in (1, 2, 3, 4)] == [
        [1], [1, 3, 3, 1], [1, 2, 3, 2, 1], [1, 3, 5, 7, 7, 5, 3, 1]
    ]  # fmt: skip


def test_the_brightest_page_stays_the_brightest():
    assert (shrink(np.full((22, 22), 65535, np.uint16), (11, 11)) == 65535).all()


def test_8_bits_arrive_times_257():
    page = make_page(8, 8).astype(np.uint8)
    assert np.array_equal(shrink(page, (1, 1)), page * np.uint16(257))
    assert np.array_equal(shrink(page, (2, 2)), shrink(page * np.uint16(257), (2, 2)))


def test_only_whole_factors_that_fit_into_32_bits():
    assert find_factors(1024, 512, 256) == (4, 2)
    assert find_factors(256, 256, 256) == (1, 1)
    assert find_factors(1000, 1024, 256) is None
    assert find_factors(128, 256, 256) is None  # larger, not smaller
    assert find_factors(256 * 12, 256 * 11, 256) is None
