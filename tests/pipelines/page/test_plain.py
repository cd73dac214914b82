"""Pixels of plain TIFFs without a decoder; everything else is left to one."""

import io

import numpy as np
import pytest
import tifffile

from tarpon.pipelines.page.plain import find_pixels
from tarpon.shards.sources.cells.pages import encode_tiff

HEIGHT, WIDTH = 12, 20
PAGE = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)


def write(page: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, page, **{"photometric": "minisblack", "metadata": None, **options})
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_packed_is_read_bit_for_bit(dtype):
    page = PAGE.astype(dtype)
    found = find_pixels(encode_tiff(page), height=HEIGHT, width=WIDTH)
    assert found.dtype == dtype
    assert np.array_equal(found, page)


@pytest.mark.parametrize(
    "content",
    [
        write(PAGE, compression="zlib"),
        write(PAGE, rowsperstrip=4),
        write(PAGE, byteorder=">"),
        write(PAGE, bigtiff=True),
        write(PAGE, photometric="miniswhite"),
        write(PAGE.view(np.int16)),
        write(PAGE.astype(np.float32)),
        write(np.repeat(PAGE[..., None], 3, 2), photometric="rgb"),
        write(PAGE.T.copy()),
        write(np.concatenate([PAGE, PAGE])),
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"\x89PNG\r\n\x1a\n" + bytes(40),
    ],
    ids=[
        "zlib",
        "strips",
        "big_endian",
        "bigtiff",
        "white_is_0",
        "int16",
        "float",
        "rgb",
        "turned",
        "two_planes",
        "empty",
        "short",
        "far",
        "png",
    ],
)
def test_anything_else_is_left_to_the_decoder(content):
    assert find_pixels(content, height=HEIGHT, width=WIDTH) is None


def test_no_length_of_a_file_cut_short_is_read_beyond_its_end():
    whole = encode_tiff(PAGE)
    found = [find_pixels(whole[:length], height=HEIGHT, width=WIDTH) for length in range(len(whole))]
    end = max(whole.find(PAGE.tobytes()) + PAGE.nbytes, 0)
    assert all(pixels is None for pixels in found[:end])
