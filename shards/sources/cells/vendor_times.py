"""When the time points of an ND2 or CZI file were taken: bioio tells it of some files only."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from tarpon.shards.sources.cells.timing import find_step

POSITIONS = "./Metadata/Information/Image/Dimensions/T/Positions"  # in the XML of a CZI file
SECONDS, TIME, POSITION = "Time [s]", "T Index", "P Index"  # columns of an ND2 file's table of frames


def read_interval(path: Path, image: Any, *, scene: int, times: int) -> float:
    """Seconds from page to page; 0 where the file does not tell, or they are not even."""
    if times < 2:
        return 0.0
    step = image.time_interval
    told = max(step.total_seconds() if isinstance(step, timedelta) else float(step or 0), 0.0)
    if path.suffix.lower() == ".czi":  # of which bioio measures the time between first and last page
        return read_czi_interval(image.metadata) or find_step((0.0, told))
    return told or find_step(read_stamps(path, scene=scene, times=times))


def read_czi_interval(metadata: Any) -> float:
    """Seconds between the time points that an XML element of a CZI file lists, or of which it tells the step; else 0."""
    step, offsets = metadata.find(f"{POSITIONS}/Interval/Increment"), metadata.find(f"{POSITIONS}/List/Offsets")
    try:
        if step is not None:
            return find_step((0.0, float(step.text)))
        return find_step([float(offset) for offset in offsets.text.split()]) if offsets is not None else 0.0
    except (AttributeError, TypeError, ValueError):  # empty, or no numbers
        return 0.0


def read_stamps(path: Path, *, scene: int, times: int) -> tuple[float, ...]:
    """Seconds of the first plane of every time point of an ND2 file; empty for other files, or where one has none."""
    if path.suffix.lower() != ".nd2":
        return ()
    return pick_stamps(_list_frames(path, path.stat().st_mtime_ns), scene=scene, times=times)


@lru_cache(maxsize=2)  # a file of many positions is asked once for each
def _list_frames(path: Path, changed: int) -> list[dict[str, Any]]:
    import nd2

    with nd2.ND2File(path) as file:
        return file.events(orient="records")


def pick_stamps(frames: Iterable[Mapping[str, Any]], *, scene: int, times: int) -> tuple[float, ...]:
    """The same of the table of a file's frames, a mapping a frame."""
    found: dict[int, float] = {}
    for frame in frames:
        if frame.get(POSITION, scene) == scene and isinstance(frame.get(SECONDS), float):
            found.setdefault(int(frame.get(TIME, 0)), frame[SECONDS])
    return tuple(found[time] for time in range(times)) if set(found) == set(range(times)) else ()
