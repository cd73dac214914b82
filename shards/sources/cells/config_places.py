"""The folders and files that a cells' YAML file names: paths, or URLs as text."""

import posixpath
from collections.abc import Mapping
from pathlib import Path

from tarpon.shards.store import is_url


def find_folders(path: Path, known: Mapping[str, object], *, url: str) -> tuple[Path | str, Path | str | None]:
    """The two folders of the classes, or the one of all stacks, and None.

    Args:
        path: the YAML file, whose keys are `known`. url: as of `find_place_beside`.
    """
    if "data.stacks_dir" in known:
        if also := [key for key in ("data.infected_dir", "data.uninfected_dir") if key in known]:
            raise ValueError(f"{path}: data.stacks_dir and {also[0]} are given; give one folder with a plate map, or two")
        if "data.plate_map" not in known:
            raise ValueError(f"{path}: data.plate_map is missing; in data.stacks_dir nothing else tells the class")
        return find_place_beside(path, known["data.stacks_dir"], url=url), None
    for key in ("data.infected_dir", "data.uninfected_dir"):
        if key not in known:
            raise ValueError(
                f"{path}: {key} is missing; give the folder of that class's stacks, or data.stacks_dir and data.plate_map"
            )
    first, second = (known[f"data.{name}_dir"] for name in ("infected", "uninfected"))
    return find_place_beside(path, first, url=url), find_place_beside(path, second, url=url)


def find_place_beside(path: Path, said: str, *, url: str) -> Path | str:
    """What the file at `path` means by a name: a URL as it is, a relative path beside the file.

    Of a file in a folder the path holds where the command is given, where there is none beside it.

    Args:
        url: where the file was fetched from, in whose folder the name is then looked for; "": it lies in a folder.
    """
    if is_url(said):
        return said
    named = Path(said).expanduser()
    if url and not named.is_absolute():
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{posixpath.normpath(posixpath.join(posixpath.dirname(rest), said))}"
    beside = path.parent / named
    return beside if beside.exists() or not named.exists() else named
