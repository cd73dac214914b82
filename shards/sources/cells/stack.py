"""A stack as its file holds it: planes along time, channel and depth, before a channel is chosen and depths are projected."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

TIME, CHANNEL, DEPTH = "TCZ"  # axes, by the letters of OME


@dataclass(frozen=True, kw_only=True, eq=False)
class PlaneStack:
    """One position. Planes are read one at a time."""

    name: str = ""  # of the position, as the file tells it
    times: int
    channels: tuple[str, ...] = ("",)  # their names, empty where the file tells none
    depths: int = 1
    height: int  # pixels
    width: int
    samples: int = 1  # of a pixel: 1 grey, 3 red, green, blue
    dtype: np.dtype
    read: Callable[[int, int, int], np.ndarray]  # time, channel, depth -> (H, W) or (H, W, 3) in native byte order
    interval: float = 0.0  # seconds from page to page; 0: not told
    pixel_um: float = 0.0  # width of a pixel in micrometres; 0: not told
    read_stamps: Callable[[], tuple[float, ...]] = tuple  # seconds of each time point by its own stamp; empty: not told
    files: tuple[str, ...] = ()  # further files, beside the one that was opened, that hold planes
    remarks: tuple[str, ...] = ()  # what was assumed in reading, a line each
    refusal: str = ""  # why no plane of it can be read; it has no pages then


def distinguish_channels(names: Sequence[str], count: int) -> tuple[str, ...]:
    """A stack's channels by names to choose them by: equal ones get their number; empty where the file does not tell all."""
    if len(names) != count:
        return ("",) * count
    return tuple(f"{name} {place}" if name and names.count(name) > 1 else name for place, name in enumerate(names, start=1))


def refuse_stack(name: str, why: str) -> PlaneStack:
    """A stack of a file of several that cannot be read itself, and spoils no other."""

    def read(time: int, channel: int, depth: int) -> np.ndarray:
        raise ValueError(why)

    return PlaneStack(name=name, times=0, height=0, width=0, dtype=np.dtype(np.uint8), read=read, refusal=why)
