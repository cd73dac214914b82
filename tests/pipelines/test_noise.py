"""Noise: a function of its place alone, of the asked strength, and zeros where none is wanted."""

import numpy as np
import pytest
import torch

from tarpon.pipelines.noise import SLACK, NoiseBank, NoiseSlice


def bank(**given) -> NoiseBank:
    return NoiseBank.normal(np.random.default_rng(0), **{"count": 600, "sd": 5.0, "dtype": np.int8, "zeros": 24} | given)


def test_a_stretch_is_a_view_that_depends_on_its_start_alone():
    one, two = bank(), bank()
    view = one.slice_noise(0.5, (2, 10, 3)).view(one.values)
    assert view.shape == (2, 10, 3)
    assert np.shares_memory(view, one.values)
    assert np.array_equal(view, two.slice_noise(0.5, (2, 10, 3)).view(two.values))
    assert np.array_equal(view.ravel(), one.values[SLACK // 2 : SLACK // 2 + 60])


def test_the_last_stretch_ends_before_the_zeros():
    noise = bank()
    last = noise.slice_noise(np.nextafter(1, 0), (600,))
    assert last.first + 600 < len(noise.values) - noise.zeros
    assert noise.slice_zeros(4, 6).view(noise.values).shape == (4, 6)
    assert not noise.slice_zeros(4, 6).view(noise.values).any()


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_noise_is_normal_of_the_asked_sd(dtype):
    noise = bank(dtype=dtype)
    drawn = noise.values[: -noise.zeros].astype(float)
    assert noise.values.dtype == dtype
    assert drawn.std() == pytest.approx(5, rel=0.02)
    assert abs(drawn.mean()) < 0.1
    assert np.mean(np.abs(drawn) < 5.5) == pytest.approx(0.73 if dtype is np.int8 else 0.729, abs=0.01)


def test_whole_numbers_end_where_their_type_does():
    assert np.abs(bank(sd=100.0).values.astype(int)).max() == 127


def test_no_noise_is_zeros_alone():
    assert bank(sd=0.0).values.tolist() == [0] * 24


def test_a_tensor_is_cut_as_an_array_is():
    """On a GPU the bank is a tensor; the stretch must mean the same there."""
    noise = bank()
    noise_slice = NoiseSlice(17, (3, 5))
    on_device = noise_slice.view(torch.from_numpy(noise.values))
    assert np.array_equal(on_device.numpy(), noise_slice.view(noise.values))
    assert on_device.data_ptr() == noise.values.ctypes.data + 17
    assert on_device.is_contiguous()
