"""Planes of a TIFF series as plain pixels: native byte order, bright is high, colour last, no alpha, grey palettes resolved."""

from collections.abc import Sequence

import numpy as np
import tifffile

from tarpon.shards.sources.cells.read_errors import explain

COLOURS = ("RGB", "YCBCR")  # photometric kinds of three samples and perhaps alpha
ALPHA = ("ASSOCALPHA", "UNASSALPHA")


class PlaneReader:
    """Reads the planes of pages that are all like one."""

    def __init__(self, page: tifffile.TiffPage, *, pages: Sequence) -> None:
        """
        Args:
            page: the one that tells of all.
            pages: of tifffile, None for one that is missing, or arrays of one page each.

        Raises:
            ValueError: pages of a kind that is not read.
        """
        if page.imagedepth > 1:
            raise ValueError("a page holds a volume; one plane a page is read")
        self.pages = pages
        self._page = page
        self._separate = page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        self.samples, self.channels = _count_samples(page)  # of a pixel: 1 or 3; channels that are stored as samples
        self._levels = _read_palette(page)
        self.dtype = np.dtype(page.dtype).newbyteorder("=") if self._levels is None else self._levels.dtype

    def read(self, number: int, channel: int = 0) -> np.ndarray:
        """A plane, (H, W) or (H, W, 3); ValueError where it does not read."""
        with explain(f"page {number} does not read"):
            stored = self.pages[number]
            if stored is None:  # how tifffile shows a plane that an OME header names and the files have not got
                raise ValueError("the header names it, the file does not hold it")
            # one thread: several would log outside of `capture_log`, and packing has a process a core
            pixels = stored if isinstance(stored, np.ndarray) else stored.asarray(maxworkers=1)
            page = self._page
            shape = (page.imagelength, page.imagewidth)
            if self._separate:
                pixels = np.moveaxis(pixels.reshape(page.samplesperpixel, *shape), 0, -1)
            pixels = pixels.reshape(*shape, page.samplesperpixel)
        pixels = pixels[..., :3] if self.samples == 3 else pixels[..., channel if self.channels > 1 else 0]
        return self._resolve(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("=")))  # some microscopes write big-endian

    def _resolve(self, pixels: np.ndarray) -> np.ndarray:
        if self._levels is not None:
            return self._levels[pixels]
        if self._page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
            return np.iinfo(pixels.dtype).max - pixels
        return pixels


def _count_samples(page: tifffile.TiffPage) -> tuple[int, int]:
    """Samples of a pixel that are one picture (1 or 3), and channels stored side by side in a pixel; alpha is neither."""
    count, photometric = page.samplesperpixel, getattr(page.photometric, "name", "")
    alpha = bool(page.extrasamples) and getattr(page.extrasamples[-1], "name", "") in ALPHA
    if photometric in COLOURS or count == 3:
        if count not in (3, 4):
            raise ValueError(f"{count} samples a pixel; grey, red-green-blue and an alpha channel are read")
        return 3, 1
    return 1, count - alpha


def _read_palette(page: tifffile.TiffPage) -> np.ndarray | None:
    """Grey level of every index of a palette, uint8; None where pages have none, or one that only colours their levels.

    Raises:
        ValueError: the palette's colours are no scale of one brightness.
    """
    if page.photometric != tifffile.PHOTOMETRIC.PALETTE:
        return None
    colours = np.asarray(page.colormap)  # (3, 2**bits) uint16
    if (colours == colours[0]).all() and np.ptp(colours[0]):
        scale = 257 if (colours % 257 == 0).all() else 256  # 255 is 65535 to most programs and 65280 to some
        return (colours[0] // scale).astype(np.uint8)
    if (np.diff(colours.astype(int), axis=1) >= 0).all() and np.ptp(colours):
        return None  # a ramp, as of a fluorescent dye: the index is the level
    raise ValueError("colours by a palette that is neither grey nor a ramp of one colour; save it as grey or RGB")
