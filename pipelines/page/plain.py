"""Reads the pixels of a plain TIFF, as pages are packed, without a decoder: they lie in it as they are."""

import struct

import numpy as np

HEADER = struct.Struct("<2sHI")  # byte order, 42, where the directory begins
ENTRY = np.dtype([("tag", "<u2"), ("kind", "<u2"), ("count", "<u4"), ("value", "<u4")])
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, PLACE, SAMPLES, FORMAT = 256, 257, 258, 259, 262, 273, 277, 339
SHORT = 3  # kind of 16-bit values
UNCOMPRESSED = BLACK_IS_ZERO = UNSIGNED = 1


def find_pixels(content: bytes, *, height: int, width: int) -> np.ndarray | None:
    """The pixels as a view of the file's content, (height, width) uint8 or uint16.

    None where it is anything but a little-endian TIFF of one uncompressed strip of grey pixels of that size: a decoder reads it
    then, or tells what is wrong.
    """
    if len(content) < HEADER.size:
        return None
    order, version, directory = HEADER.unpack_from(content)
    if (order, version) != (b"II", 42) or directory + 2 > len(content):
        return None
    (entries,) = struct.unpack_from("<H", content, directory)
    if directory + 2 + entries * ENTRY.itemsize > len(content):
        return None
    found = np.frombuffer(content, ENTRY, count=entries, offset=directory + 2)
    if (found["count"][np.isin(found["tag"], (BITS, PLACE, FORMAT))] != 1).any():
        return None  # several channels or strips: the value is where theirs are
    value = np.where(found["kind"] == SHORT, found["value"] & 0xFFFF, found["value"])
    tags = dict(zip(found["tag"].tolist(), value.tolist(), strict=True))
    plain = {HEIGHT: height, WIDTH: width, COMPRESSION: UNCOMPRESSED, PHOTOMETRIC: BLACK_IS_ZERO}
    alike = all(tags.get(tag) == wanted for tag, wanted in plain.items())
    if not alike or tags.get(SAMPLES, 1) != 1 or tags.get(FORMAT, UNSIGNED) != UNSIGNED or tags.get(BITS) not in (8, 16):
        return None
    dtype, place = np.dtype(f"<u{tags[BITS] // 8}"), tags.get(PLACE, 0)
    if not place or place + height * width * dtype.itemsize > len(content):
        return None
    return np.frombuffer(content, dtype, count=height * width, offset=place).reshape(height, width)
