"""`tarpon demo star`: a synthetic lab folder in the real layout, to try everything on."""

import time
from pathlib import Path

from tarpon.tools.star.demo import lab
from tarpon.tools.star.demo.wildlife import write as write_wildlife


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
    made = lab.write(
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


def wildlife(
    *,
    out: str,
    species: int = 4,
    only: str = "",
    identities: int = 72,
    images: int = 8,
    size: int = 160,
    seed: int = 0,
) -> int:
    """Write drawn tigers, turtles, whales, stars and cattle in the layout of WildlifeReID-10k.

    Args:
        out: folder to make; metadata.csv and images are written into it.
        species: 1 to 5, a data set each; the fourth is SeaStarReID2023, which packing leaves out.
        only: data sets by comma instead, such as AerialCattle2017; unset: the first `species`.
        identities: individuals of all data sets together.
        images: most of one individual; some have one.
        size: pixels, width about.
        seed: the same seed gives the same animals.
    """
    begun = time.perf_counter()
    names = [name.strip() for name in only.split(",") if name.strip()]
    made = write_wildlife(Path(out), species=species, only=names, identities=identities, images=images, size=size, seed=seed)
    print(
        f"{made['images']} images of {made['identities']} animals ({made['singles']} with one image), "
        f"{made['train']} train and {made['test']} test, in {time.perf_counter() - begun:.0f} s: {out}\n"
        + ", ".join(f"{name} {count}" for name, count in made["datasets"].items())
    )
    print(f"next: tarpon pack wildlife --root {out} --out SHARDS")
    return 0
