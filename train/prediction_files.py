"""Files of a split's predictions: one, or one of each process that scored a share of it, read as one set.

A set lies beside where the one file would: `val-00001-of-00003.npz` beside `val.npz`. Process after process, its answers are
in the order of the split.
"""

import re
from pathlib import Path


def share_path(path: Path, *, place: int, places: int) -> Path:
    """Where process `place` of `places` writes its share of the predictions that are called `path`."""
    if places == 1:
        return path
    return path.with_name(f"{path.stem}-{place + 1:05d}-of-{places:05d}{path.suffix}")


def list_shares(path: Path) -> list[Path]:
    """The files of the predictions that are called `path`, in the order of the split; none where there are none.

    Raises:
        ValueError: a file of a set is missing.
    """
    if path.is_file():
        return [path]
    sets = _list_sets(path)
    for places in sorted(sets):
        wanted = [share_path(path, place=place, places=places) for place in range(places)]
        if sets[places] == set(wanted):
            return wanted
    if not sets:
        return []
    places = min(sets)
    missing = next(own for place in range(places) if (own := share_path(path, place=place, places=places)) not in sets[places])
    raise ValueError(f"{missing}: missing, one of {places} files of one set; the run that writes them has to finish")


def remove_others(path: Path, *, places: int) -> None:
    """Remove what another number of processes left of the predictions called `path`, whose `places` files are written."""
    kept = {share_path(path, place=place, places=places) for place in range(places)}
    for old in {path}.union(*_list_sets(path).values()) - kept:
        old.unlink(missing_ok=True)


def _list_sets(path: Path) -> dict[int, set[Path]]:
    """Number of processes -> the files that are there of their set."""
    sets: dict[int, set[Path]] = {}
    named = re.compile(rf"{re.escape(path.stem)}-\d{{5}}-of-(\d{{5}}){re.escape(path.suffix)}")
    for found in path.parent.iterdir() if path.parent.is_dir() else ():
        if made := named.fullmatch(found.name):
            sets.setdefault(int(made[1]), set()).add(found)
    return sets
