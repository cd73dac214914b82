"""`tarpon gpu --prepare DIR`: small shards of all four tasks, to be carried to a machine that cannot make them."""

from dataclasses import dataclass
from pathlib import Path

from tarpon.tools.gpu.steps import Visit

CODECS = ("vp9", "mjpeg", "h264")  # h264 decodes on a GPU only
DONE = "prepared.txt"  # written last


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much is drawn."""

    videos: int = 2  # of 2 and 3 trials of 360 frames
    side: int = 224  # pixels of the videos
    codecs: tuple[str, ...] = CODECS
    fish: int = 48  # images
    stacks: int = 12
    pages: int = 6
    stars: int = 10  # individuals


SMALL = Amount(side=64, codecs=("vp9", "mjpeg"), fish=40, stars=8)


def prepare(folder: Path, amount: Amount = Amount()) -> str:
    """Draw labs and pack them; what is there already is kept. Returns what lies there, in words."""
    import shutil

    if not (folder / DONE).exists():
        labs = folder / "labs"
        shutil.rmtree(labs, ignore_errors=True)
        mouse(folder, labs, amount)
        others(folder, labs, amount)
        shutil.rmtree(labs)
        (folder / DONE).write_text(f"{amount}\n")
    held = {path.name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in folder.iterdir()}
    sizes = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in sorted(held.items()) if name != DONE)
    return f"{folder}: {sum(held.values()) / 2**20:.1f} MiB ({sizes})"


def mouse(folder: Path, labs: Path, amount: Amount) -> None:
    from tarpon.tools.mouse import pack
    from tarpon.tools.mouse.demo import command as demo

    lab = labs / "mouse"
    demo.mouse(out=str(lab), videos=amount.videos, size=amount.side)
    for codec in amount.codecs:
        given = {"videos": str(lab / "Videos"), "annotations": str(lab / "Annotations"), "out": str(folder / f"mouse_{codec}")}
        pack.mouse(**given, codec=codec, split="0.6,0.4,0")


def others(folder: Path, labs: Path, amount: Amount) -> None:
    from tarpon.tools.cells import pack as pack_cells
    from tarpon.tools.cells.demo import command as demo_cells
    from tarpon.tools.fish import pack as pack_fish
    from tarpon.tools.fish.demo import command as demo_fish
    from tarpon.tools.star import pack as pack_star
    from tarpon.tools.star.demo import command as demo_star

    demo_fish.fish(out=str(labs / "fish"), images=amount.fish, families=6, size=128)
    pack_fish.fish(images=str(labs / "fish/images"), annotations=str(labs / "fish/anns"), out=str(folder / "fish"))
    demo_cells.cells(out=str(labs / "cells"), stacks=amount.stacks, pages=amount.pages, size=80, onset=1.0)
    given = {"config": str(labs / "cells/cells.yaml"), "out": str(folder / "cells")}
    pack_cells.cells(**given, group="well", split="0.34,0.33,0.33")
    demo_star.star(out=str(labs / "star"), identities=amount.stars, distractors=2, sessions=4, images=2, size=128)
    pack_star.star(root=str(labs / "star"), out=str(folder / "star"))


def of(visit: Visit) -> Path:
    """The shards of a visit: those it was given; on a CPU small ones are made beside its rows where none were."""
    if visit.shards is not None:
        if not (visit.shards / DONE).exists():
            raise ValueError(f"{visit.shards} holds no {DONE}: make it with `tarpon gpu --prepare {visit.shards}`")
        return visit.shards
    if visit.gpu:
        raise ValueError("no shards were given: make them with `tarpon gpu --prepare DIR` and give --shards DIR")
    prepare(visit.out / "shards", SMALL)
    return visit.out / "shards"
