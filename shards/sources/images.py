"""Converts image files to the form that shards store: an upright 8-bit RGB JPEG of limited size.

Every image is decoded once, here, so that training meets none that does not decode. The file's own bytes are kept where they
are such a JPEG already; all others are encoded again.
"""

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

QUALITY = 95  # of encoded images, without chroma subsampling: they may be scaled again in training
UPRIGHT = 1  # EXIF orientation of an image that is stored as it is shown
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)  # all that Pillow raises of a file that is broken
MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 2**30 // 12)  # what Pillow refuses to decode: 179 million; from half of it it warns
HIDDEN = "a name that begins with a dot: a hidden file, or a Mac's companion of another one"


@dataclass(frozen=True, kw_only=True, eq=False)
class JpegImage:
    """An image to be stored."""

    content: bytes  # JPEG
    width: int  # pixels as stored
    height: int
    verbatim: bool  # the source's own bytes


def convert_to_jpeg(content: bytes, *, short_side: int = 0, longest_side: int = 0, matte: str = "white") -> JpegImage:
    """Convert an image file.

    Args:
        content: bytes of any file that Pillow reads; of several images in it the first is used.
        short_side, longest_side: pixels; an image whose shorter or longer side is longer is made smaller. 0: never.
        matte: colour behind transparent parts.

    Raises:
        ValueError: in one line, why the file cannot be decoded.
    """
    if not content:
        raise ValueError("the file is empty")
    try:
        with _open_image(content) as image:
            image.load()
            pixels = _turn_upright(image)
            stands = pixels is image and _is_plain_jpeg(image)
            rgb = _convert_to_rgb(pixels, matte=matte)
    except UnidentifiedImageError as error:
        raise ValueError("not an image of a known format") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"more than {MAX_PIXELS / 1e6:.0f} million pixels; make it smaller before packing") from error
    except BROKEN as error:
        raise ValueError(f"does not decode ({str(error).partition(' (')[0]})") from error  # without counts: reasons are counted
    smaller = shrink(rgb, short_side=short_side, longest_side=longest_side)
    if stands and smaller is rgb:
        return JpegImage(content=content, width=rgb.width, height=rgb.height, verbatim=True)
    return JpegImage(content=encode_jpeg(smaller), width=smaller.width, height=smaller.height, verbatim=False)


def _open_image(content: bytes) -> Image.Image:
    """The image, not yet decoded; without Pillow's warning on large ones, as packing makes them smaller at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(content))


def shrink(image: Image.Image, *, short_side: int = 0, longest_side: int = 0) -> Image.Image:
    """The image itself, or a smaller one of the same aspect whose sides are within these pixels. 0: no limit."""
    limits = ((short_side, min(image.size)), (longest_side, max(image.size)))
    limit, side = min((pair for pair in limits if pair[0] > 0), key=lambda pair: pair[0] / pair[1], default=(0, 0))
    if limit >= side:
        return image
    size = tuple(max(1, round(length * limit / side)) for length in image.size)
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def encode_jpeg(image: Image.Image, *, quality: int = QUALITY) -> bytes:
    """An RGB image as a baseline JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, subsampling="4:4:4")
    return buffer.getvalue()


def _is_plain_jpeg(image: Image.Image) -> bool:
    """True where every decoder gives the same pixels: 8-bit YCbCr."""
    coded_rgb = image.info.get("adobe_transform") == 0  # a marker that some decoders do not look at
    return image.format == "JPEG" and image.mode == "RGB" and not coded_rgb


def _turn_upright(image: Image.Image) -> Image.Image:
    """The image itself, or a copy turned as its EXIF says: not all readers apply the tag."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
        return image if orientation == UPRIGHT else ImageOps.exif_transpose(image)
    except (SyntaxError, struct.error, ValueError):
        return image.copy()  # unreadable EXIF: as it lies, encoded anew without it


def _convert_to_rgb(image: Image.Image, *, matte: str) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16 bits, or 16 bits held in 32
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError(f"pixels from {grey.min()} to {grey.max()}; 8 or 16 bits are read")
        return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("pixels are floating point numbers; 8 or 16 bits are read")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, matte), clear).convert("RGB")
    return image.convert("RGB")
