"""`tarpon demo KIND`: a synthetic lab folder in the real layout, to try everything on."""

import time
from pathlib import Path

from tarpon.tools.cells.demo import lab as cultures
from tarpon.tools.fish.demo import lab as fishes
from tarpon.tools.mouse.demo import lab as mice
from tarpon.tools.star.demo import lab as stars
from tarpon.tools.star.demo import wildlife as animals


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


def star(
    *,
    out: str,
    identities: int = 24,
    distractors: int = 6,
    sessions: int = 5,
    images: int = 4,
    size: int = 176,
    seed: int = 0,
    tiles: str = "",
) -> int:
    """Write photographs of drawn sea stars by individual and outing, with the spellings and faults of real folders.

    Args:
        out: folder to make; one folder a data set and truth.json, which says what is planted, are written into it.
        identities: stars seen on two dates or more.
        distractors: further ones, seen on one date.
        sessions: dates of a star, one more or less.
        images: of an outing, one more or less.
        size: pixels, the longer side about.
        seed: the same seed gives the same stars.
        tiles: a folder of photographs of stars; each becomes one more individual, warped and lit anew for every date.
    """
    begun = time.perf_counter()
    made = stars.write(
        Path(out), identities=identities, distractors=distractors, sessions=sessions, images=images, size=size, seed=seed,
        tiles=Path(tiles) if tiles else None,
    )  # fmt: skip
    counts = made["counts"]
    print(
        f"{counts['images']} images of {counts['identities']} stars over {counts['sessions']} sessions, "
        f"{counts['distractors']} stars seen on one date, {counts['undated']} images without a date, "
        f"in {time.perf_counter() - begun:.0f} s: {out}"
    )
    for file in made["planted"]["unreadable"]:
        print(f"  fault truncated: {file}")
    print(f"next: tarpon pack star --root {out} --out SHARDS")
    return 0


def wildlife(*, out: str, species: int = 4, identities: int = 72, images: int = 8, size: int = 160, seed: int = 0) -> int:
    """Write drawn tigers, turtles, whales and stars in the layout of WildlifeReID-10k.

    Args:
        out: folder to make; metadata.csv and images are written into it.
        species: 1 to 4, a data set each; the fourth is SeaStarReID2023, which packing leaves out.
        identities: individuals of all data sets together.
        images: most of one individual; some have one.
        size: pixels, width about.
        seed: the same seed gives the same animals.
    """
    begun = time.perf_counter()
    made = animals.write(Path(out), species=species, identities=identities, images=images, size=size, seed=seed)
    print(
        f"{made['images']} images of {made['identities']} animals ({made['singles']} with one image), "
        f"{made['train']} train and {made['test']} test, in {time.perf_counter() - begun:.0f} s: {out}\n"
        + ", ".join(f"{name} {count}" for name, count in made["datasets"].items())
    )
    print(f"next: tarpon pack wildlife --root {out} --out SHARDS")
    return 0
