"""Files of a folder with the same bytes."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

TAIL = 512  # bytes at the end of a file that differ between most images of one size


def find_copies(root: Path, sizes: np.ndarray, names: Sequence[str]) -> list[list[int]]:
    """Groups of two or more files with the same bytes, as indices into `names`, each ascending; empty files are left out.

    Files of equal size are compared by their last bytes, and those that agree by all bytes: few files are read whole.

    Args:
        sizes: (files,) bytes of each.
        names: below `root`.
    """

    def last(path: Path) -> bytes:
        with open(path, "rb") as file:
            file.seek(-min(TAIL, path.stat().st_size), os.SEEK_END)
            return file.read()

    def whole(path: Path) -> bytes:
        return hashlib.sha256(path.read_bytes()).digest()

    order = np.argsort(sizes, kind="stable")
    cuts = np.flatnonzero(np.diff(sizes[order])) + 1
    alike = [part.tolist() for part in np.split(order, cuts) if len(part) > 1 and sizes[part[0]]]
    for tell in (last, whole):
        finer = []
        for part in alike:
            told = defaultdict(list)
            for i in part:
                told[tell(root / names[i])].append(i)
            finer += [same for same in told.values() if len(same) > 1]
        alike = finer
    return alike
