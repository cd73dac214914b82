"""Image files of a folder that was never packed: found, and read ahead in threads."""

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
    """Images that lie in memory, by row, as the feed reads them."""

    held: dict[int, bytes] = field(default_factory=dict)

    def read(self, row: int, _column: str) -> bytes:
        """A padded place of a batch asks for a row that may not be held: any image will do there."""
        return self.held[row] if row in self.held else next(iter(self.held.values()))


def images_in(folder: Path) -> list[str]:
    """Paths of the images below a folder, relative to it, in natural order (2 before 10); hidden ones are passed over."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    found = []
    for place, below, files in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        here = Path(place).relative_to(folder)
        found += [(here / name).as_posix() for name in files if name.lower().endswith(IMAGES) and not name.startswith(".")]
    if not found:
        raise ValueError(f"{folder}: no images ({', '.join(IMAGES)}) here or in folders below")
    return sorted(found, key=natural)


def pictures_of(
    root: Path, names: Sequence[str], *, size: int, threads: int, read: Callable[[Path], JpegImage | str]
) -> Iterator[tuple[range, list[JpegImage | str]]]:
    """`size` images at a time, each as packing would have stored it or the reason why not; the next are read meanwhile."""
    chunks = [range(first, min(first + size, len(names))) for first in range(0, len(names), size)]
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        ahead = [pool.submit(read, root / names[row]) for row in chunks[0]]
        for place, rows in enumerate(chunks):
            now, ahead = ahead, []
            if place + 1 < len(chunks):
                ahead = [pool.submit(read, root / names[row]) for row in chunks[place + 1]]
            yield rows, [future.result() for future in now]


def natural(name: str) -> tuple[list[tuple[str, int]], str]:
    """Sorts numbers within a name by value; names that differ in leading zeros or in case alone still have an order."""
    return [(word.lower(), int(digits or 0)) for word, digits in re.findall(r"(\D*)(\d*)", name)], name
