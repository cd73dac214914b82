"""`tarpon gpu --prepare DIR`: small shards of all tasks, to be carried to a machine that cannot make them."""

import shutil
from pathlib import Path

from tarpon.tools.gpu.checks import load_checks
from tarpon.tools.gpu.step_runner import Visit

DONE = "prepared.txt"  # written last


def prepare(folder: Path, *, small: bool = False) -> str:
    """Draw a lab of every task and pack it; shards that are whole already are kept.

    Args:
        small: fewer and smaller samples, enough for a CPU.

    Returns:
        One line: the folder and the MiB of everything in it.
    """
    if not (folder / DONE).exists():
        labs = folder / "labs"
        shutil.rmtree(labs, ignore_errors=True)
        for checks in load_checks().values():
            checks.prepare(folder, labs=labs, small=small)
        shutil.rmtree(labs)
        (folder / DONE).write_text("small\n" if small else "full\n")
    size_of = {path.name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in folder.iterdir()}
    sizes = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in sorted(size_of.items()) if name != DONE)
    return f"{folder}: {sum(size_of.values()) / 2**20:.1f} MiB ({sizes})"


def find_shards(visit: Visit) -> Path:
    """The folder of prepared shards; on a CPU small ones are made beside the rows where none were given.

    Raises:
        ValueError: the given folder is not whole, or none was given on a GPU.
    """
    if visit.shards is not None:
        if not (visit.shards / DONE).exists():
            raise ValueError(f"{visit.shards} holds no {DONE}: make it with `tarpon gpu --prepare {visit.shards}`")
        return visit.shards
    if visit.gpu:
        raise ValueError("no shards were given: make them with `tarpon gpu --prepare DIR` and give --shards DIR")
    prepare(visit.out / "shards", small=True)
    return visit.out / "shards"
