"""What tests of the mouse's sources write: empty files, small videos, annotations."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


def write_touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("")
    return folder


@pytest.fixture(scope="session")
def touch() -> Callable[..., Path]:
    """`write_touch`, for all tests of this folder."""
    return write_touch


def write_film(path: Path, frames: int = 30) -> Path:
    """A bright square that moves, 30 frames/s; its ground is the name's."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = np.full((48, 64, 3), 20 + 37 * sum(path.stem.encode()) % 150, np.uint8)
            picture[10:30, number % 40 : number % 40 + 16] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def film() -> Callable[..., Path]:
    """`write_film`, for all tests of this folder."""
    return write_film


def write_annotation(
    path: Path,
    rows: int,
    *,
    first: int | None = 0,
    actions: dict[int, str] | None = None,
    header: str = "Frame,Action",
    more: str = "",
    bom: bool = False,
) -> Path:
    lines = [header]
    for row in range(rows):
        action = (actions or {}).get(row, str(row % 8))
        lines.append((f"{first + row}," if first is not None else "") + action + more)
    path.write_text(("\ufeff" if bom else "") + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def annotation() -> Callable[..., Path]:
    """`write_annotation`, for all tests of this folder."""
    return write_annotation
