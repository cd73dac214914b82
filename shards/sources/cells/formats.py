"""Which reader opens which file of a microscope."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tarpon.shards.sources.cells.lif import open_lif
from tarpon.shards.sources.cells.ome_zarr import open_zarr
from tarpon.shards.sources.cells.stack import PlaneStack
from tarpon.shards.sources.cells.tiff import open_tiff
from tarpon.shards.sources.cells.vendor import PLUGINS, open_vendor

TIFF = (".tif", ".tiff", ".btf", ".tf8")
LIF, ZARR = ".lif", ".zarr"
MAKERS = (*PLUGINS, LIF)  # microscope makers' own formats
OTHER = {  # formats that are known and not read
    ".oib": "Olympus", ".oif": "Olympus", ".vsi": "Olympus", ".lsm": "Zeiss", ".dv": "DeltaVision", ".ims": "Imaris",
    ".stk": "MetaMorph", ".c01": "Cellomics",
}  # fmt: skip


def find_reader(path: Path) -> Callable[[Path], AbstractContextManager[list[PlaneStack]]]:
    """The reader of a file or folder by its name; ValueError, with what would help, where there is none."""
    suffix = path.suffix.lower()
    if suffix == ZARR and path.is_dir():
        return open_zarr
    if path.is_file() and suffix in TIFF:
        return open_tiff
    if path.is_file() and suffix == LIF:
        return open_lif
    if path.is_file() and suffix in PLUGINS:
        return open_vendor
    if path.is_file() and suffix in OTHER:
        raise ValueError(f"{suffix} files ({OTHER[suffix]}) are not read; export OME-TIFF or OME-Zarr")
    raise ValueError(f"not a .tif or .tiff file, a .zarr folder or one of {', '.join(MAKERS)}")


@contextmanager
def open_stacks(path: Path) -> Iterator[list[PlaneStack]]:
    """The stacks of a file of any kind that is read, one a position; ValueError in one line where it does not open."""
    with find_reader(path)(path) as stacks:
        yield stacks
