"""Which reader opens which file of a microscope."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tarpon.shards.sources.cells.stack import PlaneStack
from tarpon.shards.sources.cells.tiff import open_tiff

TIFF = (".tif", ".tiff", ".btf", ".tf2", ".tf8")


def find_reader(path: Path):
    """The reader of a file or folder by its name; ValueError, with what would help, where there is none."""
    suffix = path.suffix.lower()
    if suffix in TIFF and path.is_file():
        return open_tiff
    raise ValueError("not a .tif or .tiff file")


@contextmanager
def open_stacks(path: Path) -> Iterator[list[PlaneStack]]:
    """The stacks of a file of any kind that is read, one a position; ValueError in one line where it does not open."""
    with find_reader(path)(path) as stacks:
        yield stacks
