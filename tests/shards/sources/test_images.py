"""What is stored is an upright 8-bit RGB JPEG; the source's own bytes where they are one; nothing that does not decode."""

import io
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tarpon.shards.sources.images import convert_to_jpeg, shrink


def picture(width: int = 40, height: int = 24) -> Image.Image:
    """Red to the left, blue to the right, brighter downwards: any turn is seen."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0.3, 1, height))
    return Image.fromarray((255 * np.stack([(1 - x) * y, 0 * x, x * y], -1)).astype(np.uint8))


def coded(image: Image.Image, form: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as stored:
        assert (stored.format, stored.mode) == ("JPEG", "RGB")
        assert stored.getexif().get(0x0112, 1) == 1
        return np.asarray(stored).astype(int)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30, "subsampling": "4:2:0"}])
def test_a_jpeg_is_kept_byte_for_byte(options):
    content = coded(picture(), **options)
    stored = convert_to_jpeg(content, short_side=24)
    assert stored.content == content
    assert (stored.width, stored.height, stored.verbatim) == (40, 24, True)


@pytest.mark.parametrize(("form", "mode", "expected"), [
    ("PNG", "RGB", picture()),
    ("PNG", "L", picture().convert("L")),
    ("PNG", "P", picture().convert("P", palette=Image.Palette.ADAPTIVE)),
    ("PNG", "1", picture().convert("1")),
    ("JPEG", "L", picture().convert("L")),
    ("JPEG", "CMYK", picture().convert("CMYK")),
    ("WEBP", "RGB", picture()),
    ("GIF", "P", picture().convert("P", palette=Image.Palette.ADAPTIVE)),
])  # fmt: skip
def test_other_formats_and_modes_become_rgb_jpegs(form, mode, expected):
    assert expected.mode == mode
    stored = convert_to_jpeg(coded(expected, form))
    assert not stored.verbatim
    found = pixels(stored.content)
    assert found.shape == (24, 40, 3)
    difference = np.abs(found - np.asarray(expected.convert("RGB"))).mean()
    assert difference < (12 if mode == "1" else 5)  # a dithered picture is the worst that JPEG can meet


def test_sixteen_bits_keep_their_brightness():
    deep = np.linspace(0, 65535, 40 * 24).reshape(24, 40).astype(np.uint16)
    found = pixels(convert_to_jpeg(coded(Image.fromarray(deep), "PNG")).content)
    np.testing.assert_allclose(found[..., 0], deep >> 8, atol=6)


def test_clear_parts_turn_white():
    image = picture().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 16, 24))
    assert pixels(convert_to_jpeg(coded(image, "PNG")).content)[:, :14].min() > 240


def test_clear_parts_take_the_colour_that_is_asked():
    image = picture().convert("RGBA")
    image.paste((255, 255, 255, 0), (0, 0, 16, 24))
    assert pixels(convert_to_jpeg(coded(image, "PNG"), matte="black").content)[:, :14].max() < 15


def test_a_turned_picture_is_stored_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    stored = convert_to_jpeg(coded(picture(), exif=exif))
    assert (stored.width, stored.height, stored.verbatim) == (24, 40, False)
    np.testing.assert_allclose(pixels(stored.content), np.rot90(np.asarray(picture()), -1), atol=25)
    exif[0x0112] = 1
    assert convert_to_jpeg(coded(picture(), exif=exif)).verbatim


def test_a_jpeg_that_holds_rgb_is_encoded_anew():
    assert not convert_to_jpeg(coded(picture(), keep_rgb=True)).verbatim


@pytest.mark.parametrize(("side", "size"), [(0, (300, 100)), (100, (300, 100)), (50, (150, 50)), (200, (300, 100))])
def test_only_the_shorter_side_counts_and_nothing_grows(side, size):
    content = coded(picture(300, 100))
    stored = convert_to_jpeg(content, short_side=side)
    assert (stored.width, stored.height) == size
    assert pixels(stored.content).shape == (size[1], size[0], 3)
    assert stored.verbatim == (size == (300, 100))


@pytest.mark.parametrize(("short", "longest", "size"), [
    (0, 300, (300, 100)), (0, 150, (150, 50)), (0, 400, (300, 100)), (80, 150, (150, 50)), (30, 150, (90, 30)),
    (0, 151, (151, 50)),
])  # fmt: skip
def test_the_longer_side_counts_where_it_is_named(short, longest, size):
    stored = convert_to_jpeg(coded(picture(300, 100)), short_side=short, longest_side=longest)
    assert (stored.width, stored.height) == size
    assert stored.verbatim == (size == (300, 100))


def test_a_thin_picture_keeps_a_pixel():
    assert shrink(Image.new("RGB", (4000, 40)), short_side=32).size == (3200, 32)


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "the file is empty"),
    (b"404 Not Found\n", "not an image"),
    (coded(picture(400, 400))[:2000], "does not decode"),
    (coded(picture(), "PNG")[:-40], "does not decode"),
    (coded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "floating point"),
])  # fmt: skip
def test_what_does_not_decode_is_told_in_one_line(content, reason):
    with pytest.raises(ValueError, match=reason) as told:
        convert_to_jpeg(content)
    assert "\n" not in str(told.value)


def test_large_pictures_are_made_smaller_without_a_word_and_too_large_ones_refused_in_one_line(monkeypatch, recwarn):
    """By limits of a thousandth; Pillow's own warn at 89 million pixels and refuse at twice as many."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    stored = convert_to_jpeg(coded(picture(120, 100)), longest_side=60)
    assert (stored.width, stored.height) == (60, 50)
    with pytest.raises(ValueError, match=r"^more than 179 million pixels; make it smaller before packing$"):
        convert_to_jpeg(coded(picture(200, 101)), longest_side=60)
    assert not list(recwarn)


def header_only(width: int, height: int) -> dict[str, bytes]:
    """Small files whose headers claim a picture of these sides."""
    png = b"\x89PNG\r\n\x1a\n"
    for name, content in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ):
        png += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    tags = ((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8))
    tags += ((277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 16))
    tif = b"II*\x00" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    tif += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4 + 16)
    return {"png": png, "tif": tif}


@pytest.mark.parametrize("name", ["png", "tif"])
@pytest.mark.parametrize("side", [10_001, 12_000, 60_000, 200_000])
def test_hostile_dimensions_take_no_memory(name, side):
    content = header_only(side, side)[name]
    assert len(content) < 300
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; also of what Pillow takes beside Python
    with pytest.raises(ValueError, match=r"pixels|does not decode") as told:
        convert_to_jpeg(content)
    assert "million pixels" in str(told.value) or f"{side} x {side} pixels, 100000000 are allowed" in str(told.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_the_limit_can_be_set():
    convert_to_jpeg(coded(picture(40, 30)), max_pixels=1200)
    with pytest.raises(ValueError, match=r"^40 x 30 pixels, 1199 are allowed; .*--max_pixels$"):
        convert_to_jpeg(coded(picture(40, 30)), max_pixels=1199)
