"""`tarpon gpu --prepare DIR`: small shards of every task, to be carried to a machine that cannot make them."""

from pathlib import Path

from tarpon.tools.gpu.checks import checks, timed
from tarpon.tools.gpu.steps import Visit

DONE = "prepared.txt"  # written last


def prepare(folder: Path, *, small: bool = False) -> str:
    """Draw labs and pack them; what is there already is kept. Returns what lies there, in words."""
    import shutil

    if not (folder / DONE).exists():
        labs = folder / "labs"
        shutil.rmtree(labs, ignore_errors=True)
        for found in checks().values():
            found.prepare(folder, labs, small=small)
        shutil.rmtree(labs)
        (folder / DONE).write_text(f"small={small}\n")
    held = {path.name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in folder.iterdir()}
    sizes = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in sorted(held.items()) if name != DONE)
    return f"{folder}: {sum(held.values()) / 2**20:.1f} MiB ({sizes})"


def of(visit: Visit) -> Path:
    """The shards of a visit: those it was given; on a CPU small ones are made beside its rows where none were."""
    if visit.shards is not None:
        if not (visit.shards / DONE).exists():
            raise ValueError(f"{visit.shards} holds no {DONE}: make it with `tarpon gpu --prepare {visit.shards}`")
        return visit.shards
    if visit.gpu:
        raise ValueError("no shards were given: make them with `tarpon gpu --prepare DIR` and give --shards DIR")
    prepare(visit.out / "shards", small=True)
    return visit.out / "shards"


def coded(visit: Visit, codec: str) -> Path:
    """The shards of the task that is timed, in one codec."""
    return of(visit) / f"{timed()}_{codec}"
