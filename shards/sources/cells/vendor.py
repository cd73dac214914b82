"""Files in microscope makers' own formats (ND2, CZI) as their stacks, read by bioio, an extra of Tarpon."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tarpon.shards.sources.cells import vendor_times
from tarpon.shards.sources.cells.read_errors import explain
from tarpon.shards.sources.cells.stack import CHANNEL, DEPTH, TIME, PlaneStack, distinguish_channels, refuse_stack

PLUGINS = {".nd2": "bioio_nd2", ".czi": "bioio_czi"}  # file name's end -> bioio's plugin for it
TILE, SAMPLE = "M", "S"  # axes: tiles of a mosaic, colours of a pixel
READ = (TIME, CHANNEL, DEPTH, TILE, *"YXS")
ANY = (Exception,)  # bioio, its plugins and lxml raise kinds of their own


@contextmanager
def open_vendor(path: Path) -> Iterator[list[PlaneStack]]:
    """The stacks of a file, one a scene and tile, to be read inside; all that goes wrong there is a ValueError of one line."""
    state = path.stat()
    yield list(_describe_file(path, state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)  # files hold a plate's positions, each read by itself, and telling of 96 takes seconds; none stays open
def _describe_file(path: Path, changed: int, size: int) -> tuple[PlaneStack, ...]:
    suffix = path.suffix.lower()
    try:
        reader = import_module(PLUGINS[suffix]).Reader
    except ImportError as error:
        name = PLUGINS[suffix].replace("_", "-")
        raise ValueError(
            f"a {suffix} file is read with bioio and {name}: pip install 'tarpon[microscopes]', or export OME-TIFF"
        ) from error
    _silence(PLUGINS[suffix])
    with explain(f"does not read as {suffix}", errors=ANY):
        image = reader(path)
        scenes = list(image.scenes)
    return tuple(stack for scene in scenes for stack in _describe(path, image, scene, count=len(scenes)))


def _silence(plugin: str) -> None:
    """Nothing that a plugin logs is printed: it logs tracebacks of metadata that it does without."""
    logger = logging.getLogger(plugin)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _describe(path: Path, image: Any, scene: str, *, count: int) -> list[PlaneStack]:
    """A scene as one stack a tile, most have one; a scene that is not read spoils no other."""
    name = scene if count > 1 else ""
    try:
        with explain(f"does not read as {path.suffix.lower()}", errors=ANY, told=True):
            image.set_scene(scene)
            length = dict(zip(image.dims.order, image.dims.shape, strict=True))
            if others := [
                axis for axis, size in length.items() if size > 1 and axis not in (TIME, CHANNEL, DEPTH, TILE, *"YXS")
            ]:
                raise ValueError(f"planes along {', '.join(others)}; time, channels, depths and tiles are read")
            if length.get(SAMPLE, 1) not in (1, 3, 4):
                raise ValueError(f"{length[SAMPLE]} samples a pixel; grey, red-green-blue and an alpha channel are read")
            tiles = length.get(TILE, 1)
            return [_describe_tile(path, image, scene, length, name=name, tile=tile, tiles=tiles) for tile in range(tiles)]
    except ValueError as error:
        return [refuse_stack(name, str(error))]


def _describe_tile(
    path: Path, image: Any, scene: str, length: dict[str, int], *, name: str, tile: int, tiles: int
) -> PlaneStack:
    colours, times, channels = length.get(SAMPLE, 1), length.get(TIME, 1), length.get(CHANNEL, 1)
    axes, names = ("YXS" if colours > 1 else "YX"), [str(name) for name in image.channel_names or ()]
    place = image.current_scene_index

    def read(time: int, channel: int, depth: int) -> np.ndarray:
        at = {TIME: time, CHANNEL: channel, DEPTH: depth, TILE: tile}
        with explain(f"page {time} does not read", errors=ANY):
            if image.current_scene != scene:
                image.set_scene(scene)
            lazy = image.get_image_dask_data(axes, **{axis: number for axis, number in at.items() if axis in length})
            plane = np.asarray(lazy.compute(scheduler="synchronous"))
        return np.ascontiguousarray(plane[..., :3] if colours > 1 else plane, plane.dtype.newbyteorder("="))

    return PlaneStack(
        name=f"{name} tile {tile + 1}".strip() if tiles > 1 else name,
        times=times,
        channels=distinguish_channels(names, channels),
        depths=length.get(DEPTH, 1),
        height=length["Y"],
        width=length["X"],
        samples=3 if colours > 1 else 1,
        dtype=np.dtype(image.dtype).newbyteorder("="),
        read=read,
        interval=vendor_times.read_interval(path, image, scene=place, times=times),
        pixel_um=float(image.physical_pixel_sizes.X or 0),
        read_stamps=lambda: vendor_times.read_stamps(path, scene=place, times=times),
        remarks=(f"tile {tile + 1} of {tiles} of a mosaic; neighbours may show the same cells",) if tiles > 1 else (),
    )
