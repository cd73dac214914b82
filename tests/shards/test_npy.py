"""Arrays are what NumPy reads, and no Python text is parsed for them."""

import ast
import io
import tracemalloc

import numpy as np
import pytest

from tarpon.shards.npy import read_npy


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


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_another_order_and_version_are_read_too(no_parser, version):
    array = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version, allow_pickle=False)
    np.testing.assert_array_equal(read_npy(buffer.getvalue()), array)


@pytest.mark.parametrize("keep", [-1, 100, 20, 9, 0])
def test_a_file_cut_short_is_an_error(keep):
    with pytest.raises(ValueError, match=r"a \.npy file"):
        read_npy(saved(np.arange(50.0))[:keep])


def claiming(shape: str, descr: str = "<f8") -> bytes:
    """A .npy file of 16 bytes of numbers with a header of one's choice."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)


def test_what_a_header_claims_is_not_allocated():
    assert read_npy(claiming("(2,)")).tolist() == [0, 0]
    for shape in ("(2000000, 1000000)", "(99999999999999999999, 99999999999)", "(3,)", "(1,)", "()"):
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"header claims .* and that holds 16"):
            read_npy(claiming(shape))
        assert tracemalloc.get_traced_memory()[1] < 10**6
        tracemalloc.stop()


@pytest.mark.parametrize("descr", ["|O", "<U4", "|V8", "<M8[s]", "nonsense", "|S16"])
def test_only_plain_numbers_are_read(descr):
    with pytest.raises(ValueError, match=r"\.npy file"):
        read_npy(claiming("(2,)", descr))


def test_objects_are_never_unpickled():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="never objects"):
        read_npy(buffer.getvalue())
