"""Every kind of TIFF comes back pixel for pixel; one that is cut short or is not what we read is named, never read in part."""

import io
import logging
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from tarpon.shards.sources.cells.levels import LevelHistogram
from tarpon.shards.sources.cells.pages import StackShape, decode_tiff, encode_tiff, read_pages, read_shape

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 65536, (6, 40, 30), dtype=np.uint16)
COLOUR = RNG.integers(0, 256, (5, 40, 30, 3), dtype=np.uint8)
KINDS = {
    "one block": (GREY, {}),
    "no metadata": (GREY, {"metadata": None}),
    "lzw": (GREY, {"compression": "lzw"}),
    "deflate with predictor": (GREY, {"compression": "zlib", "predictor": True}),
    "zstd": (GREY, {"compression": "zstd"}),
    "ome": (GREY, {"ome": True, "metadata": {"axes": "TYX"}}),
    "imagej": (GREY, {"imagej": True, "metadata": {"axes": "TYX"}}),
    "imagej, slices": (GREY, {"imagej": True, "metadata": {"axes": "ZYX"}}),
    "big-endian": (GREY, {"byteorder": ">"}),
    "big": (GREY, {"bigtiff": True, "metadata": None}),
    "strips": (GREY, {"rowsperstrip": 7, "metadata": None}),
    "tiles": (GREY, {"tile": (16, 16), "metadata": None}),
    "channel axis": (GREY[..., None], {"photometric": "minisblack"}),
    "8 bits": (COLOUR[..., 0], {}),
    "rgb": (COLOUR, {"photometric": "rgb"}),
    "rgb of 16 bits, lzw": (np.stack([GREY, GREY[::-1], GREY + 1], -1), {"photometric": "rgb", "compression": "lzw"}),
}


def saved(path, pixels, **options):
    tifffile.imwrite(path, pixels, **({"photometric": "minisblack"} | options))
    return path


def pages(path) -> np.ndarray:
    return np.stack(list(read_pages(path)))


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_come_back(kind, tmp_path):
    pixels, options = KINDS[kind]
    path = saved(tmp_path / "a.tif", pixels, **options)
    expected = pixels[..., 0] if kind == "channel axis" else pixels
    found = pages(path)
    assert found.dtype == expected.dtype
    assert found.dtype.isnative
    assert np.array_equal(found, expected)
    channels = 3 if expected.ndim == 4 else 1
    assert read_shape(path) == StackShape(
        pages=len(pixels), height=40, width=30, channels=channels, bits=8 * pixels.dtype.itemsize
    )


def test_planes_of_colour_are_put_together(tmp_path):
    path = saved(tmp_path / "a.tif", np.moveaxis(COLOUR, -1, 1), photometric="rgb", planarconfig="separate", metadata=None)
    assert np.array_equal(pages(path), COLOUR)


def test_white_is_high_whatever_the_file_calls_zero(tmp_path):
    path = saved(tmp_path / "a.tif", GREY, photometric="miniswhite")
    assert np.array_equal(pages(path), 65535 - GREY)


def test_a_large_imagej_stack_lists_only_its_first_page(tmp_path):
    path = saved(tmp_path / "a.tif", GREY, imagej=True, metadata={"axes": "TYX"})
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        end = tif.pages[0].offset + 2 + 12 * len(tif.pages[0].tags)
    content[end : end + 4] = bytes(4)  # no next page: as ImageJ writes above 4 GB
    path.write_bytes(content)
    with tifffile.TiffFile(path) as tif:
        assert len(tif.pages) == 1
    assert np.array_equal(pages(path), GREY)


def test_one_page_is_a_stack_of_one(tmp_path):
    assert pages(saved(tmp_path / "a.tif", GREY[0])).shape == (1, 40, 30)


def test_a_real_stack_of_16_bits(shared_data):
    path = shared_data / "cell_timelapse" / "cancer_cell_migration_crop.tif"
    with Image.open(path) as stack:  # another library than the one that packs
        assert stack.n_frames == 48
        for number, page in enumerate(read_pages(path)):
            stack.seek(number)
            assert np.array_equal(page, np.asarray(stack))
    assert read_shape(path) == StackShape(pages=48, height=130, width=130, channels=1, bits=16)


@pytest.mark.parametrize("kind", ["one block", "no metadata", "lzw", "deflate with predictor", "ome", "imagej", "rgb", "chain"])
@pytest.mark.parametrize("share", [0.97, 0.5, 0.05, 0.0])
def test_a_file_cut_short_is_never_read_in_part(kind, share, tmp_path):
    path, pixels = tmp_path / "a.tif", KINDS.get(kind, (GREY,))[0]
    if kind == "chain":  # a page after its list, as most microscopes write
        with tifffile.TiffWriter(path) as file:
            for page in GREY:
                file.write(page, contiguous=False, metadata=None, photometric="minisblack")
    else:
        saved(path, pixels, **KINDS[kind][1])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    if kind == "imagej" and share > 0.9:  # its pixels come first and its first header tells how many: all are there
        assert np.array_equal(pages(path), pixels)
        return
    with pytest.raises(ValueError, match=r"^\S[^\n]*$"):
        pages(path)


def test_complaints_of_the_reader_do_not_reach_the_log(tmp_path, caplog):
    path = saved(tmp_path / "a.tif", GREY)
    path.write_bytes(path.read_bytes()[:5000])
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match=r"cut short or damaged \(invalid page offset"):
        read_shape(path)
    assert not caplog.records
    logging.getLogger("tifffile").error("another file")
    assert [record.getMessage() for record in caplog.records] == ["another file"]


@pytest.mark.parametrize(("pixels", "options", "part"), [
    (GREY > 9, {}, "pixels are bool"),
    (GREY.astype(np.complex64), {}, "pixels are complex64"),
    (COLOUR[..., 0], {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16), "metadata": None}, "palette"),
    (GREY.reshape(2, 3, 40, 30), {"ome": True, "metadata": {"axes": "TCYX"}}, "3 channels of one moment"),
    (GREY.reshape(2, 3, 40, 30), {}, "along 2 axes, and the file does not say which is time"),
    (GREY, {"ome": True, "metadata": {"axes": "CYX"}}, "6 channels of one moment"),
    (GREY, {"ome": True, "metadata": {"axes": "ZYX"}}, "6 depths of one moment"),
    (GREY, {"imagej": True, "metadata": {"axes": "CYX"}}, "6 channels of one moment"),
])  # fmt: skip
def test_what_is_not_read_is_named(pixels, options, part, tmp_path):
    path = saved(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(ValueError, match=part):
        read_shape(path)


def test_a_thumbnail_is_left_out(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(GREY, photometric="minisblack")
        file.write(GREY[0, ::4, ::4], photometric="minisblack", subfiletype=1)
    assert np.array_equal(pages(path), GREY)


@pytest.mark.parametrize(("options", "seconds"), [
    ({"ome": True, "metadata": {"axes": "TYX", "TimeIncrement": 10.0, "TimeIncrementUnit": "min"}}, 600),
    ({"ome": True, "metadata": {"axes": "TYX", "TimeIncrement": 0.5, "TimeIncrementUnit": "h"}}, 1800),
    ({"ome": True, "metadata": {"axes": "TYX"}}, 0),
    ({"imagej": True, "metadata": {"axes": "TYX", "finterval": 1800.0}}, 1800),
    ({"imagej": True, "metadata": {"axes": "TYX", "finterval": 0.0}}, 0),
    ({}, 0),
])  # fmt: skip
def test_the_interval_is_that_of_the_metadata(options, seconds, tmp_path):
    assert read_shape(saved(tmp_path / "a.tif", GREY, **options)).interval == seconds


def test_pages_of_two_sizes_are_named(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for page in (GREY[0], GREY[1, :20]):
            file.write(page, contiguous=False, metadata=None, photometric="minisblack")
    with pytest.raises(ValueError, match=r"different shape \(20 x 30, 40 x 30\)"):
        read_shape(path)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"404 Not Found\n", bytes(1000)])
def test_other_files_are_named(content, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^\S[^\n]*$"):
        read_shape(path)


@pytest.mark.parametrize("page", [
    np.arange(65536, dtype=np.uint16).reshape(256, 256), COLOUR[0], COLOUR[0, ..., 0], np.moveaxis(GREY[:3], 0, -1),
    np.zeros((3, 5), np.uint16),
])  # fmt: skip
def test_a_tiff_holds_every_bit(page):
    assert np.array_equal(decode_tiff(encode_tiff(page)), page)
    if page.dtype == np.uint8 or page.ndim == 2:  # Pillow has no colour of 16 bits
        with Image.open(io.BytesIO(encode_tiff(page))) as picture:
            assert np.array_equal(np.asarray(picture), page)


def test_a_broken_tiff_is_a_value_error():
    with pytest.raises(ValueError, match=r"\w"):
        decode_tiff(encode_tiff(GREY[0])[:100])


def test_the_range_is_that_of_the_whole_stack():
    levels = LevelHistogram(16)
    for page in GREY:
        levels.add(page)
    assert levels.find_range() == tuple(np.percentile(GREY, [0.1, 99.9], method="inverted_cdf"))
    hot = np.full((50, 50), 7, np.uint8)
    hot[0, 0] = 255
    levels = LevelHistogram(8)
    levels.add(hot)
    assert levels.find_range() == (7, 255)  # a range of one level would divide by zero


def test_a_small_file_that_claims_a_huge_page_is_not_read(tmp_path):
    """210 bytes, 200,000 x 200,000 pixels of 16 bits: 74.5 GiB."""
    side = 200_000
    tags = ((256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8))
    tags += ((277, 3, 1, 1), (278, 4, 1, side), (279, 4, 1, 16))
    head = b"II*\x00" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    content = head + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4 + 16)
    path = tmp_path / "hostile.tif"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="200000 x 200000 pixels, 100000000 are allowed"):
        read_shape(path)
    with pytest.raises(ValueError, match="200000 x 200000 pixels in"):
        decode_tiff(content)
