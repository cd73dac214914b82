"""An OME-Zarr folder as its stacks: one image, several positions, or a whole plate. Needs zarr, an extra of Tarpon.

Versions 0.4 and 0.5 of the format; the first (full) resolution is read.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tarpon.shards.sources.cells import ome
from tarpon.shards.sources.cells.read_errors import explain
from tarpon.shards.sources.cells.stack import CHANNEL, DEPTH, TIME, PlaneStack, distinguish_channels

SECONDS = {"millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0} | ome.SECONDS
MICROMETRES = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3} | ome.MICROMETRES


@contextmanager
def open_zarr(path: Path) -> Iterator[list[PlaneStack]]:
    """The stacks of a folder, one a position, to be read inside; all that goes wrong there is a ValueError of one line."""
    try:
        import zarr
    except ImportError as error:
        raise ValueError("an OME-Zarr folder is read with zarr: pip install 'tarpon[zarr]'") from error
    with explain("does not read as OME-Zarr", told=True):
        root = zarr.open_group(str(path), mode="r")
        yield [_describe(group, name) for name, group in _find_images(root)]


def _read_attributes(group: Any) -> Mapping:
    """The entries of OME: at the top until version 0.4, below `ome` since."""
    held = dict(group.attrs)
    return held.get("ome", held)


def _find_images(root: Any) -> list[tuple[str, Any]]:
    """Images by name: `_<well>_p<field>` of a plate, so that each tells its place; else as they are numbered."""
    held = _read_attributes(root)
    if "plate" in held:
        found = []
        for well in held["plate"]["wells"]:
            name = well["path"].replace("/", "")
            for number, image in enumerate(_read_attributes(root[well["path"]])["well"]["images"], start=1):
                found.append((f"_{name}_p{number}", root[well["path"]][image["path"]]))
        return found
    if "multiscales" in held:
        return [("", root)]
    numbered = sorted((name for name in root if name.isdigit()), key=int)
    if not numbered:
        raise ValueError("no multiscales among its attributes: not an OME-Zarr image or plate")
    return [("", root[name]) for name in numbered]


def _describe(group: Any, name: str) -> PlaneStack:
    held = _read_attributes(group)
    scales = held["multiscales"][0]
    array, axes = group[scales["datasets"][0]["path"]], [_read_axis(axis) for axis in scales.get("axes", "tczyx")]
    letters = "".join(letter for letter, _ in axes)
    if len(letters) != array.ndim or not letters.endswith("YX") or set(letters[:-2]) - {TIME, CHANNEL, DEPTH}:
        raise ValueError(f"axes {letters} of an array of {array.ndim} dimensions; t, c, z before y, x are read")
    length = dict(zip(letters, array.shape, strict=True))
    scale, unit = _read_scale(scales, len(axes)), dict(axes)
    steps = dict(zip(letters, scale, strict=True))
    labels = [str(one.get("label", "")) for one in held.get("omero", {}).get("channels", ())]
    channels = length.get(CHANNEL, 1)

    def read(time: int, channel: int, depth: int) -> np.ndarray:
        at = {TIME: time, CHANNEL: channel, DEPTH: depth}
        with explain(f"page {time} does not read"):
            plane = np.asarray(array[tuple(at[letter] for letter in letters[:-2])])
        return np.ascontiguousarray(plane, plane.dtype.newbyteorder("="))

    return PlaneStack(
        name=name or str(scales.get("name", "")),
        times=length.get(TIME, 1),
        channels=distinguish_channels(labels, channels),
        depths=length.get(DEPTH, 1),
        height=length["Y"],
        width=length["X"],
        dtype=np.dtype(array.dtype).newbyteorder("="),
        read=read,
        interval=ome.convert_unit(steps.get(TIME), unit.get(TIME), SECONDS),
        pixel_um=ome.convert_unit(steps["X"], unit["X"], MICROMETRES),
    )


def _read_axis(axis: object) -> tuple[str, str]:
    """Letter and unit of an axis; early versions have letters alone."""
    if isinstance(axis, Mapping):
        return str(axis["name"]).upper(), str(axis.get("unit", ""))
    return str(axis).upper(), ""


def _read_scale(scales: Mapping, count: int) -> list[float]:
    """Length of a step along every axis: the product of the scales of the data set and of all; without a scale 0."""
    steps, told = np.ones(count), False
    for held in (scales["datasets"][0], scales):
        for change in held.get("coordinateTransformations", ()):
            if change.get("type") == "scale" and len(change.get("scale", ())) == count:
                steps, told = steps * np.asarray(change["scale"], float), True
    return steps.tolist() if told else [0.0] * count
