"""A Leica LIF file as its stacks, one an image and tile of the project, read by liffile, an extra of Tarpon."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tarpon.shards.quarantine import is_machine_fault
from tarpon.shards.sources.cells.read_errors import BROKEN, explain, format_error
from tarpon.shards.sources.cells.stack import CHANNEL, DEPTH, TIME, PlaneStack, distinguish_channels, refuse_stack

TILE, PAGE = "M", (("Y", "X"), ("Y", "X", "S"))  # axes by liffile's letters: of a mosaic's tiles, and of a plane


@contextmanager
def open_lif(path: Path) -> Iterator[list[PlaneStack]]:
    """The stacks of a file, to be read inside; all that goes wrong there is a ValueError of one line."""
    try:
        import liffile
    except ImportError as error:
        raise ValueError("a .lif file is read with liffile: pip install 'tarpon[microscopes]', or export OME-TIFF") from error
    broken = "does not read as .lif"
    with explain(broken):
        file = liffile.LifFile(path)
    with file:
        with explain(broken):
            found = [stack for image in file.images for stack in _describe(image)]
        if not found:
            raise ValueError("a project without an image")
        yield found


def _describe(image: Any) -> list[PlaneStack]:
    """An image as one stack a tile, most have one; one that is not read spoils no other, as a project holds every kind."""
    try:
        length, shown = dict(image.sizes), tuple(image.frames.frame_dims)
        if shown not in PAGE:
            raise ValueError(f"its planes lie along {' and '.join(shown)}; planes of Y and X are read")
        along = [axis for axis in length if axis not in shown]
        if others := [axis for axis in along if axis not in (TIME, CHANNEL, DEPTH, TILE)]:
            raise ValueError(f"planes along {', '.join(others)}; time, channels, depths and tiles are read")
        if length.get("S", 1) not in (1, 3, 4):
            raise ValueError(f"{length['S']} samples a pixel; grey, red-green-blue and an alpha channel are read")
        tiles = length.get(TILE, 1)
        return [_describe_tile(image, length, tile=tile, tiles=tiles) for tile in range(tiles)]
    except (*BROKEN, NotImplementedError) as error:
        if is_machine_fault(error):
            raise
        return [refuse_stack(image.path, format_error(error))]


def _describe_tile(image: Any, length: dict[str, int], *, tile: int, tiles: int) -> PlaneStack:
    def read(time: int, channel: int, depth: int) -> np.ndarray:
        at = {TIME: time, CHANNEL: channel, DEPTH: depth, TILE: tile}
        with explain(f"page {time} does not read"):
            plane = np.asarray(image.frame(**{axis: place for axis, place in at.items() if axis in length}))
        return np.ascontiguousarray(plane[..., :3] if "S" in length else plane, plane.dtype.newbyteorder("="))

    channels, dtype = length.get(CHANNEL, 1), np.dtype(image.dtype).newbyteorder("=")
    names = [one.get("LUTName", "") for one in image.xml_element.iterfind("./Data/Image/ImageDescription/Channels/*")]
    return PlaneStack(
        name=f"{image.path} tile {tile + 1}" if tiles > 1 else image.path,
        times=length.get(TIME, 1),
        channels=distinguish_channels(names, channels),
        depths=length.get(DEPTH, 1),
        height=length["Y"],
        width=length["X"],
        samples=3 if "S" in length else 1,
        dtype=dtype,
        read=read,
        interval=_read_step(image, TIME),
        pixel_um=_read_step(image, "X") * 1e6,
        read_stamps=lambda: _read_stamps(image, length),
        remarks=(f"tile {tile + 1} of {tiles} of a mosaic; neighbours may show the same cells",) if tiles > 1 else (),
    )


def _read_step(image: Any, axis: str) -> float:
    """Seconds or metres from one plane or pixel to the next; 0 where the file does not tell."""
    places = image.coords.get(axis, ())
    step = float(places[-1] - places[0]) / (len(places) - 1) if len(places) > 1 else 0.0
    return step if 0 < step < math.inf else 0.0


def _read_stamps(image: Any, length: dict[str, int]) -> tuple[float, ...]:
    """Seconds of the first plane of every time point since the first; empty where not every plane has a stamp."""
    stamps, times = image.timestamps, length.get(TIME, 1)
    if stamps is None or not len(stamps) or len(stamps) % times or next(iter(length)) != TIME:
        return ()
    first = stamps.reshape(times, -1)[:, 0]
    return tuple(float(seconds) for seconds in (first - first[0]) / np.timedelta64(1, "s"))
