"""Files in microscope makers' own formats (ND2, CZI, LIF) as their stacks, read by bioio, an extra of Tarpon."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tarpon.shards.sources.cells.stack import PlaneStack
from tarpon.shards.sources.cells.tiff_planes import BROKEN, format_error

READERS = {".nd2": "bioio_nd2", ".czi": "bioio_czi", ".lif": "bioio_lif"}  # file name's end -> bioio's plugin for it


@contextmanager
def open_vendor(path: Path) -> Iterator[list[PlaneStack]]:
    """The stacks of a file, one a scene, to be read inside; all that goes wrong there is a ValueError of one line."""
    try:
        reader = import_module(READERS[path.suffix.lower()]).Reader
        unsupported = import_module("bioio_base.exceptions").UnsupportedFileFormatError
    except ImportError as error:
        name = READERS[path.suffix.lower()].replace("_", "-")
        raise ValueError(
            f"a {path.suffix} file is read with bioio and {name}: pip install 'tarpon[microscopes]', or export OME-TIFF"
        ) from error
    try:
        image = reader(path)
        yield [_describe(image, scene, count=len(image.scenes)) for scene in image.scenes]
    except ValueError as error:
        raise ValueError(format_error(error)) from error
    except (unsupported, *BROKEN) as error:
        raise ValueError(f"does not read as {path.suffix} ({format_error(error)})") from error


def _describe(image: Any, scene: str, *, count: int) -> PlaneStack:
    image.set_scene(scene)
    length = dict(zip(image.dims.order, image.dims.shape, strict=True))
    colours = length.get("S", 1)
    if colours not in (1, 3, 4):
        raise ValueError(f"{colours} samples a pixel; grey, red-green-blue and an alpha channel are read")
    axes, step = ("YXS" if colours > 1 else "YX"), image.time_interval
    channels = length.get("C", 1)
    names = [str(name) for name in image.channel_names or ()]

    def read(time: int, channel: int, depth: int) -> np.ndarray:
        try:
            if image.current_scene != scene:
                image.set_scene(scene)
            at = {axis: place for axis, place in (("T", time), ("C", channel), ("Z", depth)) if axis in length}
            plane = np.asarray(image.get_image_dask_data(axes, **at).compute(scheduler="synchronous"))
        except BROKEN as error:
            raise ValueError(f"page {time} does not read ({format_error(error)})") from error
        return np.ascontiguousarray(plane[..., :3] if colours > 1 else plane, plane.dtype.newbyteorder("="))

    return PlaneStack(
        name=scene if count > 1 else "",
        times=length.get("T", 1),
        channels=tuple(names) if len(names) == channels else ("",) * channels,
        depths=length.get("Z", 1),
        height=length["Y"],
        width=length["X"],
        samples=3 if colours > 1 else 1,
        dtype=np.dtype(image.dtype).newbyteorder("="),
        read=read,
        interval=max(step.total_seconds() if hasattr(step, "total_seconds") else float(step or 0), 0.0),
        pixel_um=float(image.physical_pixel_sizes.X or 0),
    )
