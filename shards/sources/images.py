"""One picture of a lab as a shard stores it: an upright 8-bit RGB JPEG, no larger than asked.

Every picture is decoded once, here, so that training meets none that does not decode. The source's own bytes are kept where
they are such a JPEG already; all else is encoded anew.
"""

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from tarpon.shards.sources.copies import hash_appearance, hash_pixels

QUALITY = 95  # of what is encoded anew, without chroma subsampling: the picture may be scaled again in training
UPRIGHT = 1  # EXIF orientation of a picture that is stored as it is shown
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)  # all that Pillow raises of a file that is broken
MAX_PIXELS = 100_000_000  # a picture of more is not decoded: one of 144 million takes 1.1 GiB on its way
HIDDEN = "a name that begins with a dot: a hidden file, or a Mac's companion of another one"


PILLOW = 2 * (Image.MAX_IMAGE_PIXELS or 2**30 // 12)  # what Pillow itself refuses: 179 million


class TooManyPixels(ValueError):
    """A picture of hostile or mistaken dimensions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class JpegImage:
    """One picture ready for a tar."""

    content: bytes  # JPEG
    width: int  # pixels as stored
    height: int
    verbatim: bool  # the source's own bytes
    pixel_hash: str = ""  # of the upright picture before it is made smaller, where asked for; see copies
    perceptual_hash: str = ""


def convert_to_jpeg(
    content: bytes,
    *,
    short_side: int = 0,
    longest_side: int = 0,
    matte: str = "white",
    max_pixels: int = MAX_PIXELS,
    hashed: bool = False,
) -> JpegImage:
    """A file's bytes as what is stored.

    Args:
        content: any image file that Pillow reads; of several images the first.
        short_side, longest_side: pixels; a picture whose shorter or longer side is longer is made smaller. 0: never.
        matte: colour behind clear parts.
        max_pixels: a picture whose header tells more is refused before any memory is taken for it.
        hashed: also find the hashes by which copies are known.

    Raises:
        ValueError: in one line, what keeps the file from being decoded.
    """
    if not content:
        raise ValueError("the file is empty")
    try:
        with _open_image(content) as picture:
            check_pixels(*picture.size, max_pixels=max_pixels)
            picture.load()
            pixels = _turn_upright(picture)
            stands = pixels is picture and _is_plain_jpeg(picture)
            rgb = _convert_to_rgb(pixels, matte=matte)
    except UnidentifiedImageError as error:
        raise ValueError("not an image of a known format") from error
    except TooManyPixels:
        raise
    except BROKEN as error:
        raise ValueError(f"does not decode ({str(error).partition(' (')[0]})") from error  # without counts: reasons are counted
    hashes = {}
    if hashed:
        whole = np.asarray(rgb)
        hashes = {"pixel_hash": hash_pixels(whole), "perceptual_hash": hash_appearance(whole)}
    smaller = shrink(rgb, short_side=short_side, longest_side=longest_side)
    if stands and smaller is rgb:
        return JpegImage(content=content, width=rgb.width, height=rgb.height, verbatim=True, **hashes)
    return JpegImage(content=encode_jpeg(smaller), width=smaller.width, height=smaller.height, verbatim=False, **hashes)


def _open_image(content: bytes) -> Image.Image:
    """The picture, not yet decoded; Pillow's own limit is told like ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(content))
        except Image.DecompressionBombError as error:
            raise TooManyPixels(f"more than {PILLOW / 1e6:.0f} million pixels; make it smaller before packing") from error


def check_limit(max_pixels: int) -> None:
    """ValueError for a limit that no picture would pass."""
    if max_pixels < 1024:
        raise ValueError(f"max_pixels={max_pixels} must be at least 1024 pixels; {MAX_PIXELS} is usual")


def check_pixels(width: int, height: int, *, max_pixels: int) -> None:
    """TooManyPixels where a header tells of more pixels than a picture may have."""
    if width * height > max_pixels:
        raise TooManyPixels(
            f"{width} x {height} pixels, {max_pixels} are allowed; make it smaller before packing, or raise --max_pixels"
        )


def shrink(picture: Image.Image, *, short_side: int = 0, longest_side: int = 0) -> Image.Image:
    """The picture itself, or a smaller one of the same shape whose sides are within these pixels. 0: any length."""
    limits = ((short_side, min(picture.size)), (longest_side, max(picture.size)))
    limit, side = min((pair for pair in limits if pair[0] > 0), key=lambda pair: pair[0] / pair[1], default=(0, 0))
    if limit >= side:
        return picture
    size = tuple(max(1, round(length * limit / side)) for length in picture.size)
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def encode_jpeg(picture: Image.Image, *, quality: int = QUALITY) -> bytes:
    """An RGB picture as a baseline JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality, subsampling="4:4:4")
    return buffer.getvalue()


def _is_plain_jpeg(picture: Image.Image) -> bool:
    """True where every decoder gives the same pixels: 8-bit YCbCr."""
    coded_rgb = picture.info.get("adobe_transform") == 0  # a marker that some decoders do not look at
    return picture.format == "JPEG" and picture.mode == "RGB" and not coded_rgb


def _turn_upright(picture: Image.Image) -> Image.Image:
    """The picture itself, or a copy turned as its EXIF says: some readers heed the tag and some do not."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
        return picture if orientation == UPRIGHT else ImageOps.exif_transpose(picture)
    except (SyntaxError, struct.error, ValueError):
        return picture.copy()  # unreadable EXIF: as it lies, encoded anew without it


def _convert_to_rgb(picture: Image.Image, *, matte: str) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith("I"):  # 16 bits, or 16 bits held in 32
        grey = np.asarray(picture).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError(f"pixels from {grey.min()} to {grey.max()}; 8 or 16 bits are read")
        return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise ValueError("pixels are floating point numbers; 8 or 16 bits are read")
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, matte), clear).convert("RGB")
    return picture.convert("RGB")
