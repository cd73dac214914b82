"""Arrays are what NumPy reads, and no Python text is parsed for them."""

import ast
import io

import numpy as np
import pytest

from tarpon.pipelines.clip.npy import read_npy


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@pytest.fixture
def no_parser(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("Python text was parsed")

    monkeypatch.setattr(ast, "literal_eval", refuse)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (360, 6, 3), (0, 3)])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", "|i1", ">i2", "|b1"])
def test_arrays_are_numpys(no_parser, shape, dtype):
    array = (np.random.default_rng(0).random(shape) * 100).astype(dtype)
    got = read_npy(saved(array))
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)
    assert got.shape == shape


def test_another_order_is_left_to_numpy():
    array = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(read_npy(saved(array)), array)


@pytest.mark.parametrize("keep", [-1, 100, 0])
def test_a_file_cut_short_is_an_error(keep):
    with pytest.raises((ValueError, EOFError)):
        read_npy(saved(np.arange(50.0))[:keep])
