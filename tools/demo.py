"""`tarpon demo KIND`: a synthetic lab folder in the real layout, to try everything on."""

import time
from pathlib import Path

from tarpon.tools.demos import cells as cultures
from tarpon.tools.demos import fish as fishes
from tarpon.tools.demos import mouse as mice


def mouse(
    *,
    out: str,
    videos: int = 12,
    seed: int = 7,
    size: int = 512,
    faults: bool = False,
    apart: bool = False,
    workers: int = 0,
) -> int:
    """Write drawn mouse videos, DeepLabCut files and annotation CSVs.

    Args:
        out: folder to make; Videos and Annotations are written into it.
        videos: how many.
        seed: the same seed gives the same lab.
        size: pixels, both sides.
        faults: add one file of every bad kind, to see what packing does with it.
        apart: the trials of a video have no action in common but rest: who reads one trial's frames for all cannot score.
        workers: processes; 0: one a core.
    """
    begun = time.perf_counter()
    made = mice.write(Path(out), videos=videos, seed=seed, size=size, faults=faults, apart=apart, workers=workers or None)
    shares = ", ".join(f"{name} {share:.1%}" for name, share in made["shares"].items())
    print(
        f"{made['videos']} videos, {made['animals']} animals, {made['trials']} trials, {made['frames']} frames in "
        f"{time.perf_counter() - begun:.0f} s: {out}\n{shares}"
    )
    for fault in made["faults"]:
        print(f"  fault {fault['kind']}: {fault['file']}")
    return 0


def fish(*, out: str, images: int = 1200, families: int = 24, seed: int = 0, size: int = 160, workers: int = 0) -> int:
    """Write drawn fish in family folders, with train.csv and test.csv, in the layout and with the faults of FishNet.

    Args:
        out: folder to make; images and anns are written into it.
        images: how many, in families of very unequal size; a few faulty ones come on top.
        families: 2 to 32.
        seed: the same seed gives the same fish.
        size: pixels, the longer side about.
        workers: processes; 0: one a core.
    """
    begun = time.perf_counter()
    made = fishes.write(Path(out), images=images, families=families, seed=seed, size=size, workers=workers or None)
    held = sum(path.stat().st_size for path in Path(out).rglob("*.jpg"))
    print(
        f"{made['images']} images ({held / 2**20:.1f} MiB), {made['families']} families of {made['largest']} to 1 images "
        f"({made['singletons']} of one), {made['species']} species in {time.perf_counter() - begun:.0f} s: {out}\n"
        f"{made['train']} rows in train.csv, {made['test']} in test.csv, {made['blank']} without attributes"
    )
    for fault in made["faults"]:
        print(f"  fault {fault['kind']}: {fault['file']}")
    print(f"next: tarpon pack fish --images {out}/images --annotations {out}/anns --out SHARDS")
    return 0


def cells(
    *,
    out: str,
    stacks: int = 24,
    pages: int = 32,
    size: int = 96,
    wells: int = 6,
    seed: int = 0,
    confounded: bool = False,
    onset: float = 4.0,
) -> int:
    """Write drawn time courses of infected and healthy cells: two folders of multi-page TIFF stacks and cells.yaml.

    Args:
        out: folder to make; infected, uninfected and cells.yaml are written into it.
        stacks: of both classes together.
        pages: of a stack, half an hour apart.
        size: pixels, both sides.
        wells: of both classes together; every well has its own light.
        seed: the same seed gives the same cells.
        confounded: one well a class, so that the well tells the class.
        onset: hour before which nothing of the infection is to be seen.
    """
    begun = time.perf_counter()
    made = cultures.write(
        Path(out), stacks=stacks, pages=pages, size=size, wells=wells, seed=seed, confounded=confounded, onset=onset
    )
    print(
        f"{made['stacks']} stacks of {made['pages']} pages, wells {', '.join(made['wells']['infected'])} infected from hour "
        f"{made['onset']:g} and {', '.join(made['wells']['uninfected'])} not, in {time.perf_counter() - begun:.0f} s: {out}"
    )
    for file, form in made["formats"].items():
        print(f"  {form}: {file}")
    print(f"next: tarpon pack cells --config {out}/cells.yaml --out SHARDS --group well")
    return 0
