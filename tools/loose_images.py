"""Image files of a folder that was never packed: listed, and read ahead in threads."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tarpon.shards.sources.images import JpegImage

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")  # what else lies in a folder is passed over


@dataclass(eq=False)
class LooseImages:
    """Encoded images in memory, by row, read like shards."""

    held: dict[int, bytes] = field(default_factory=dict)

    def read(self, row: int, _column: str) -> bytes:
        """The image of a row. A padded slot asks for a row that may be missing: any image will do there."""
        return self.held[row] if row in self.held else next(iter(self.held.values()))


def list_images(folder: Path) -> list[str]:
    """Paths of the images below a folder, relative to it, in natural order (2 before 10); hidden ones are passed over."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    found = []
    for parent, below, files in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        images = [name for name in files if name.lower().endswith(IMAGES) and not name.startswith(".")]
        found += [(Path(parent).relative_to(folder) / name).as_posix() for name in images]
    if not found:
        raise ValueError(f"{folder}: no images ({', '.join(IMAGES)}) here or in folders below")
    return sorted(found, key=natural_key)


def read_pictures(
    root: Path, names: Sequence[str], *, size: int, threads: int, read: Callable[[Path], JpegImage | str]
) -> Iterator[tuple[range, list[JpegImage | str]]]:
    """Chunks a `size` images: (rows, for each the picture as packing would store it, or why it cannot not read).

    The next chunk a read meanwhile, by `threads` threads.
    """
    chunks = [range(first, min(first + size, len(names))) for first in range(0, len(names), size)]
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        ahead = [pool.submit(read, root / names[row]) for row in chunks[0]]
        for index, rows in enumerate(chunks):
            now, ahead = ahead, []
            if index + 1 < len(chunks):
                ahead = [pool.submit(read, root / names[row]) for row in chunks[index + 1]]
            yield rows, [future.result() for future in now]


def natural_key(name: str) -> tuple[list[tuple[str, int]], str]:
    """Sorts numbers within a name by value; names that differ in leading zeros or in case alone still have an order."""
    return [(word.lower(), int(digits or 0)) for word, digits in re.findall(r"(\D*)(\d*)", name)], name
