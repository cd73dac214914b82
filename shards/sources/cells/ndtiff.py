"""Micro-Manager's NDTiff files, whose pages each tell their own place along the axes, and in no other way."""

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import tifffile

from tarpon.shards.sources.cells.stack import CHANNEL, DEPTH, TIME, PlaneStack, distinguish_channels
from tarpon.shards.sources.cells.tiff_planes import PlaneReader
from tarpon.shards.sources.cells.timing import find_step

TAG = 51123  # of Micro-Manager, on every page
POSITION = "P"
LETTERS = {"time": TIME, "channel": CHANNEL, "z": DEPTH, "position": POSITION}


def read_pages_axes(pages: Sequence[tifffile.TiffPage]) -> list[Mapping[str, Any]]:
    """What every page tells of itself; empty where the first does not tell its place. ValueError where a later one does not."""
    told = pages[0].aspage().tags.valueof(TAG)
    if not isinstance(told, dict) or not isinstance(told.get("Axes"), dict):
        return []
    told = [page.aspage().tags.valueof(TAG) for page in pages]
    if not all(isinstance(one, dict) and isinstance(one.get("Axes"), dict) for one in told):
        raise ValueError("some of its pages tell their place along the axes, and others do not")
    return told


def describe_ndtiff(pages: Sequence[tifffile.TiffPage], told: Sequence[Mapping[str, Any]]) -> list[PlaneStack]:
    """The pages as one stack a position.

    Args:
        told: of `read_pages_axes`, one a page.

    Raises:
        ValueError: axes that no time course has, or pages that are not all there.
    """
    axes = sorted({axis for one in told for axis in one["Axes"]})
    if others := [axis for axis in axes if axis not in LETTERS]:
        raise ValueError(f"pages along {', '.join(others)}; time, channels, depths and positions are read")
    places = {letter: _list_places(told, axis, ordered=letter != CHANNEL) for axis, letter in LETTERS.items()}
    at = {tuple(one["Axes"].get(axis, 0) for axis in LETTERS): number for number, one in enumerate(told)}
    whole = list(product(*places.values()))
    if len(at) < len(told) or len(whole) != len(at) or places[TIME] != list(range(len(places[TIME]))):
        raise ValueError(
            f"{len(told)} of the {len(whole)} pages of its axes ({', '.join(axes)}): a part of a set of several files, or of "
            f"an acquisition that was stopped; save the set as one OME-TIFF or OME-Zarr"
        )
    planes = PlaneReader(pages[0], pages=pages)
    if planes.channels > 1:
        raise ValueError(f"channels both as pages and as {planes.channels} samples of a pixel; save them as pages")
    return [_describe_position(planes, told, places, at, position=position) for position in places[POSITION]]


def _list_places(told: Sequence[Mapping[str, Any]], axis: str, *, ordered: bool) -> list:
    """The places along an axis, in order of their numbers or of first mention; [0] where no page tells of it."""
    found = list(dict.fromkeys(one["Axes"].get(axis, 0) for one in told))
    return sorted(found, key=_split_numbers) if ordered else found


def _split_numbers(place: object) -> list[tuple[int, str]]:
    """A key by which Pos2 is before Pos10."""
    if isinstance(place, int):
        return [(place, "")]
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(place))]


def _describe_position(
    planes: PlaneReader, told: Sequence[Mapping[str, Any]], places: dict[str, list], at: dict[tuple, int], *, position: Any
) -> PlaneStack:
    def find(time: int, channel: int, depth: int) -> int:
        return at[time, places[CHANNEL][channel], places[DEPTH][depth], position]

    def read(time: int, channel: int, depth: int) -> np.ndarray:
        return planes.read(find(time, channel, depth))

    page, times = planes.pages[0].keyframe, len(places[TIME])
    elapsed = [told[find(time, 0, 0)].get("ElapsedTime-ms") for time in range(times)]
    stamps = tuple(ms / 1e3 for ms in elapsed) if all(isinstance(ms, int | float) for ms in elapsed) else ()
    pixel = told[0].get("PixelSizeUm")
    names = ["" if isinstance(name, int) else str(name) for name in places[CHANNEL]]
    return PlaneStack(
        name=str(position) if isinstance(position, str) else "",
        times=times,
        channels=distinguish_channels(names, len(names)),
        depths=len(places[DEPTH]),
        height=page.imagelength,
        width=page.imagewidth,
        samples=planes.samples,
        dtype=planes.dtype,
        read=read,
        interval=find_step(stamps),
        pixel_um=float(pixel) if isinstance(pixel, int | float) and pixel > 0 else 0.0,
        read_stamps=lambda: stamps,
    )
