"""A TIFF file as its stacks: axes by the file's own metadata, planes on demand.

tifffile writes to its log, and goes on, where a file is cut short: it then shows fewer pages than were saved. Here every such
complaint is an error, and none reaches the console.
"""

import logging
import math
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import unescape

import numpy as np
import tifffile

from tarpon.shards.sources.cells import ndtiff, ome
from tarpon.shards.sources.cells.read_errors import BROKEN, explain, format_error
from tarpon.shards.sources.cells.stack import CHANNEL, DEPTH, TIME, PlaneStack, distinguish_channels
from tarpon.shards.sources.cells.tiff_planes import PlaneReader

UNNAMED = "IQ"  # axes of pages that tifffile could give no name
POSITION = "P"
FILE_NAME = re.compile(r"""\b(?:FileName|MetadataFile)\s*=\s*["']([^"']+)["']""")
CLOCK = "%Y:%m:%d %H:%M:%S"  # of the tag DateTime
SHOWN = 4  # things of one kind listed in a message
RUNS = ("generic", "shaped", "uniform")  # kinds of series that are only runs of like pages


@contextmanager
def open_tiff(path: Path) -> Iterator[list[PlaneStack]]:
    """The stacks of a file, one a position, to be read inside; all that goes wrong there is a ValueError of one line.

    None for a file that holds only later pages of a stack that begins in another file of its OME set.
    """
    with explain("does not read as TIFF", told=True), capture_log() as errors, tifffile.TiffFile(path) as tif:
        found = tif.series
        if errors:
            raise ValueError(f"cut short or damaged ({errors[0]})")
        if not tif.pages or not found or not all(series.keyframe.imagewidth for series in found):
            raise ValueError("a header without a page: the pictures were never written, or the file is cut short")
        with _open_others(tif, found):
            yield _describe_file(path, tif, list(found))


def find_set(path: Path) -> list[Path]:
    """The other files that an OME-TIFF file says it is a set with; none of any other file."""
    try:
        with capture_log(), tifffile.TiffFile(path) as tif:
            names = set(FILE_NAME.findall(tif.ome_metadata or ""))
    except BROKEN:  # told when it is read
        return []
    return [other for name in sorted(names) if (other := path.with_name(Path(unescape(name)).name)) != path and other.is_file()]


@contextmanager
def _open_others(tif: tifffile.TiffFile, found: Sequence[tifffile.TiffPageSeries]) -> Iterator[None]:
    """Keep the further files of a set open: tifffile closes them, and would warn at every page it reads from one."""
    pages = (page for series in found if series.kind == "ome" for page in series if page is not None)
    others = {id(page.parent): page.parent.filehandle for page in pages if page.parent is not tif}
    try:
        for handle in others.values():
            handle.open()
        yield
    finally:
        for handle in others.values():
            handle.close()


@contextmanager
def capture_log() -> Iterator[list[str]]:
    """What tifffile logs as an error in this thread; nothing that it logs there is printed."""
    errors: list[str] = []
    thread, logger = threading.get_ident(), logging.getLogger("tifffile")

    def take(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        if record.levelno >= logging.ERROR:
            errors.append(format_error(record.getMessage()))
        return False

    logger.addFilter(take)
    try:
        yield errors
    finally:
        logger.removeFilter(take)


def _describe_file(path: Path, tif: tifffile.TiffFile, found: list[tifffile.TiffPageSeries]) -> list[PlaneStack]:
    headers = ome.read_headers(tif.ome_metadata) if tif.is_ome else []
    full, remarks = _drop_small_series(found)
    if full[0].kind in RUNS and (len(full) > 1 or tif.is_micromanager):
        _check_alike(full)
        pages = sorted((page for series in full for page in series.pages), key=lambda page: page.index)
        if tif.is_micromanager and (told := ndtiff.read_pages_axes(pages)):
            return [replace(stack, remarks=remarks) for stack in ndtiff.describe_ndtiff(pages, told)]
        if len(full) > 1:
            stack = _describe_series(tif, full[0], None, times=len(pages), planes=PlaneReader(full[0].keyframe, pages=pages))
            return [replace(stack, remarks=remarks)]
    stacks = []
    for series in full:
        if _begins_in(path, series):
            header = headers[found.index(series)] if len(headers) == len(found) else headers[0] if headers else None
            stacks += _split_positions(path, tif, series, header, remarks)
    shapes = sorted({f"{stack.times} pages of {stack.width} x {stack.height}" for stack in stacks})
    if len(shapes) > 1:
        raise ValueError(f"stacks of different shape ({', '.join(shapes[:SHOWN])}); save each in a file of its own")
    return stacks


def _drop_small_series(found: Sequence[tifffile.TiffPageSeries]) -> tuple[list[tifffile.TiffPageSeries], tuple[str, ...]]:
    """The series without pictures of lower resolution: those marked as such, and one much smaller page beside a stack."""
    full = [series for series in found if not series.keyframe.is_reduced] or list(found)
    longest = max(full, key=len)
    small = [
        series
        for series in full
        if len(series) == 1 < len(longest) and 2 * series.keyframe.imagewidth < longest.keyframe.imagewidth
    ]
    remarks = tuple(
        f"a single page of {series.keyframe.imagewidth} x {series.keyframe.imagelength} pixels was left out as a thumbnail"
        for series in small
    )
    return [series for series in full if series not in small], remarks


def _check_alike(full: Sequence[tifffile.TiffPageSeries]) -> None:
    """ValueError unless the series of a plain TIFF can be the pages of one stack: they may differ in compression alone."""
    shapes = sorted({" x ".join(map(str, series.keyframe.shape)) for series in full})
    if len(shapes) > 1:
        raise ValueError(f"pages of different shape ({', '.join(shapes[:SHOWN])})")
    depths = sorted({series.dtype.name for series in full})
    if len(depths) > 1:
        raise ValueError(f"pages of different depth ({', '.join(depths)}); save all of them at one")
    colours = sorted({series.keyframe.photometric.name.lower() for series in full})
    if len(colours) > 1:
        raise ValueError(f"pages of different colour ({', '.join(colours)})")
    if full[0].kind == "shaped" and max(map(len, full)) > 1:
        raise ValueError(f"{len(full)} stacks in one file, and nothing tells their places; save each in a file of its own")


def _begins_in(path: Path, series: tifffile.TiffPageSeries) -> bool:
    """True where the first plane lies in this file: of a set of files each stack is read from one of them."""
    first = series[0]
    return first is None or Path(first.parent.filehandle.path).name == path.name


def _split_positions(
    path: Path,
    tif: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    header: ome.ImageHeader | None,
    remarks: tuple[str, ...],
) -> list[PlaneStack]:
    """A series as one stack a position: most have one."""
    axes, sizes, assumed = name_axes(series)
    planes = PlaneReader(series.keyframe, pages=_find_pages(path, tif, series, planes=math.prod(sizes)))
    length = dict(zip(axes, sizes, strict=True))
    if planes.channels > 1 and CHANNEL in axes:
        raise ValueError(f"channels both as pages and as {planes.channels} samples of a pixel; save them as pages")
    stacks = []
    for place in range(length.get(POSITION, 1)):

        def read(time: int, channel: int, depth: int, *, place: int = place) -> np.ndarray:
            at = {TIME: time, CHANNEL: channel, DEPTH: depth, POSITION: place}
            along = tuple(at[axis] for axis in axes)
            number = int(np.ravel_multi_index(along, sizes)) if axes else 0
            return planes.read(number, channel)

        stack = _describe_series(tif, series, header, times=length.get(TIME, 1), planes=planes)
        named = f"{stack.name} {place + 1}".strip() if POSITION in axes else stack.name
        stacks.append(replace(
            stack, name=named, read=read, depths=length.get(DEPTH, 1), remarks=remarks + assumed,
            channels=distinguish_channels(header.channels if header else (), length.get(CHANNEL, planes.channels)),
        ))  # fmt: skip
    return stacks


def name_axes(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...], tuple[str, ...]]:
    """What a series has its pages along: a letter of T, C, Z, P an axis, the axes' lengths, and what was assumed.

    Raises:
        ValueError: the axes are not told, or are none that a time course has.
    """
    pairs = [(axis, size) for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YXS" and size > 1]
    letters, sizes = "".join(axis for axis, _ in pairs), tuple(size for _, size in pairs)
    assumed = ()
    if TIME not in letters and series.kind == "imagej" and DEPTH in letters:
        letters = letters.replace(DEPTH, TIME)  # ImageJ numbers the pages of a plain stack as slices, whatever they are
        assumed = (f"ImageJ tells its {sizes[letters.index(TIME)]} pages as slices; they are taken for time points",)
    if TIME not in letters and sum(letter in UNNAMED for letter in letters) == 1:
        letters = re.sub(f"[{UNNAMED}]", TIME, letters)
    told = f"({series.axes} {'x'.join(map(str, series.shape))})"
    if any(letter in UNNAMED for letter in letters) or len(set(letters)) < len(letters):
        raise ValueError(f"pages along {len(letters)} axes, and the file does not say which is time {told}")
    if others := [letter for letter in letters if letter not in (TIME, CHANNEL, DEPTH, POSITION)]:
        raise ValueError(f"pages along {', '.join(others)} {told}; time, channels, depths and positions are read")
    return letters, sizes, assumed


def _find_pages(path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, *, planes: int) -> Sequence:
    """Every plane of a series: its pages, or arrays where the file lists only the first page of one block of pixels."""
    if len(tif.pages) >= planes or series.kind == "ome":  # whose planes may lie in other files
        return series
    page = series.keyframe
    claimed = planes * page.nbytes  # a header may claim any number of them
    if claimed > path.stat().st_size:
        raise ValueError(f"{planes} pages of {claimed:,} bytes in a file of {path.stat().st_size:,}")
    return series.asarray(out="memmap").reshape(planes, *page.shape)


def _describe_series(
    tif: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    header: ome.ImageHeader | None,
    *,
    times: int,
    planes: PlaneReader,
) -> PlaneStack:
    """A series whose planes are the pages of one channel and depth, with what the metadata tell of it."""
    page, imagej = series.keyframe, tif.imagej_metadata or {}
    pages = series if series.kind == "ome" else ()
    files = dict.fromkeys(one.parent.filehandle.path for one in pages if one is not None and one.parent is not tif)
    if header is None:
        interval = ome.convert_unit(imagej.get("finterval"), "s", ome.SECONDS)
        pixel_um, stamps = _read_imagej_pixel(page, imagej), (lambda: _read_clock(planes.pages) if len(series) == times else ())
    else:
        interval, pixel_um, stamps = header.interval, header.pixel_um, (lambda: header.stamps)
    return PlaneStack(
        name=header.name if header else "",
        times=times,
        channels=("",) * planes.channels,
        height=page.imagelength,
        width=page.imagewidth,
        samples=planes.samples,
        dtype=planes.dtype,
        read=lambda time, channel, _: planes.read(time, channel),
        interval=interval,
        pixel_um=pixel_um,
        read_stamps=stamps,
        files=tuple(files),
    )


def _read_imagej_pixel(page: tifffile.TiffPage, imagej: dict) -> float:
    """Width of a pixel in micrometres where ImageJ tells its unit; 0 elsewhere: plain TIFF tells dots per inch of a print."""
    factor = ome.MICROMETRES.get(str(imagej.get("unit", "")).replace("\\u00B5", "µ"), 0.0)
    top, bottom = page.tags.valueof("XResolution", (0, 1))  # pixels of one unit
    return ome.convert_unit(bottom / top, "um", {"um": factor}) if top and factor else 0.0


def _read_clock(pages: Sequence) -> tuple[float, ...]:
    """Seconds of every page since the first by its tag DateTime; empty where the first has none or one does not read."""
    if isinstance(pages, np.ndarray) or pages[0] is None or "DateTime" not in pages[0].keyframe.tags:
        return ()
    try:
        times = [datetime.strptime(page.aspage().tags.valueof("DateTime", ""), CLOCK) for page in pages]
    except (*BROKEN, AttributeError):
        return ()
    return tuple((time - times[0]).total_seconds() for time in times)
