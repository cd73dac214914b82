"""What an OME-XML header tells of its images: names, time from page to page, time stamps, pixel size, files.

Lengths and times may be given in any unit of OME; here they are micrometres and seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from tarpon.shards.sources.cells.timing import find_step

SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
MICROMETRES = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """One Image element."""

    name: str
    channels: tuple[str, ...]
    interval: float  # seconds, as told or between even stamps; 0: not told
    pixel_um: float  # 0: not told
    stamps: tuple[float, ...]  # seconds of the time points; empty: not told of every one


def read_headers(xml: str) -> list[ImageHeader]:
    """The images of a header, in order; ValueError where it is no XML."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"its OME header is no XML ({error})") from error
    return [_read_image(image) for image in root.iterfind("{*}Image")]


def convert_unit(value: object, unit: object, factors: Mapping[str, float]) -> float:
    """A length or time in our unit; 0 where it is none, not above 0 or in an unknown unit."""
    try:
        converted = float(value) * factors[str(unit)]
    except (KeyError, TypeError, ValueError):
        return 0.0
    return converted if 0 < converted < float("inf") else 0.0


def _read_image(image: ElementTree.Element) -> ImageHeader:
    pixels = image.find("{*}Pixels")
    told = {} if pixels is None else pixels.attrib
    channels = [] if pixels is None else pixels.findall("{*}Channel")
    stamps = () if pixels is None else _read_stamps(pixels)
    interval = convert_unit(told.get("TimeIncrement"), told.get("TimeIncrementUnit", "s"), SECONDS)
    return ImageHeader(
        name=image.get("Name", ""),
        channels=tuple(channel.get("Name", "") for channel in channels),
        interval=interval or find_step(stamps),
        pixel_um=convert_unit(told.get("PhysicalSizeX"), told.get("PhysicalSizeXUnit", "µm"), MICROMETRES),
        stamps=stamps,
    )


def _read_stamps(pixels: ElementTree.Element) -> tuple[float, ...]:
    """DeltaT of the first plane of every time point."""
    found: dict[int, float] = {}
    for plane in pixels.iterfind("{*}Plane"):
        try:
            seconds = float(plane.get("DeltaT", "")) * SECONDS[plane.get("DeltaTUnit", "s")]
            found.setdefault(int(plane.get("TheT", "")), seconds)
        except (KeyError, ValueError):
            continue
    times = int(pixels.get("SizeT", "0"))
    complete = times > 1 and set(found) == set(range(times)) and np.isfinite(list(found.values())).all()
    return tuple(found[time] for time in range(times)) if complete else ()
