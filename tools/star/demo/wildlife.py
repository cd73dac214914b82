"""A synthetic data set in the layout of WildlifeReID-10k: metadata.csv and images of drawn animals of several data sets.

Names of data sets are those of the real collection, since packing knows some of them (which have sides, which are left out);
every picture is drawn. Photographs come in encounters: of one place, light and side, and, where a data set has them, of one
date or cluster. An encounter is never cut by the split.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from tarpon.shards.progress import Progress
from tarpon.tools.star.demo.cattle_drawing import cow
from tarpon.tools.star.demo.drawing import Star, bend, lying, paint, star
from tarpon.tools.star.demo.scene import Pose, Scene, in_air, photograph, under_water
from tarpon.tools.star.demo.wildlife_drawing import fluke, tiger, turtle

COLUMNS = ("identity", "path", "dataset", "species", "split", "date", "orientation", "cluster_id")
SINGLE, OTHER_SIDE, UNKNOWN_DATE = 0.08, 0.35, 0.1  # shares of individuals, of encounters, of encounters with stars
PLACES = 10  # places and lights of a data set
FIRST_DAY = date(2015, 5, 1)
OTHERS = 100  # numbers of stars here, so that none of `demo star` is drawn again


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One data set of the collection."""

    dataset: str
    species: str
    scene: Callable[..., Scene]
    grounds: tuple[str, ...]
    zoom: tuple[float, float]
    flat: float  # height of a picture, of its width
    orientation: str = ""  # "sides": left or right
    above: bool = False  # seen from above, turned any way; what is under water is
    dated: bool = False
    clustered: bool = False  # an encounter is a burst, of nearly the same picture


KINDS = (
    Kind(dataset="ATRW", species="tiger", scene=in_air, grounds=("grass", "snow"), zoom=(0.98, 1.15), flat=0.72,
         orientation="sides", clustered=True),
    Kind(dataset="AmvrakikosTurtles", species="sea turtle", scene=under_water, grounds=("sea", "sand"), zoom=(0.85, 1.0),
         flat=0.9, orientation="top", dated=True),
    Kind(dataset="HumpbackWhaleID", species="whale", scene=in_air, grounds=("waves",), zoom=(1.0, 1.2), flat=0.75),
    Kind(dataset="SeaStarReID2023", species="sea star", scene=under_water, grounds=("tank", "sand"), zoom=(0.85, 1.03),
         flat=0.85, dated=True),
    Kind(dataset="AerialCattle2017", species="cow", scene=in_air, grounds=("grass", "sand"), zoom=(0.88, 1.05),
         flat=0.9, above=True),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Encounter:
    """Photographs of one individual at one time and place."""

    images: int
    place: int  # of PLACES
    side: str  # orientation, or ""
    day: str  # ISO, or ""
    cluster: str
    test: bool


def write(
    out: Path,
    *,
    species: int = 4,
    only: Sequence[str] = (),
    identities: int = 72,
    images: int = 8,
    size: int = 160,
    seed: int = 0,
) -> dict:
    """Write `out/metadata.csv` and `out/images/<dataset>/*.jpg`.

    Args:
        species: 1 to 5 data sets: tigers, turtles, whales, the stars that are left out of pre-training, and cattle.
        only: names of data sets instead, in any order; they are drawn as if there were no others.
        identities: of all data sets together.
        images: most of one individual; least three, but some have one.
        size: pixels, width of an image about.

    Returns:
        Counts `images`, `identities`, `singles` (of one image), `train`, `test`, and `datasets`: name -> images.
    """
    out = Path(out)
    kinds = _choose(species, only)
    species = len(kinds)
    _check(out, species=species, identities=identities, images=images, size=size)
    rows: list[dict] = []
    with Progress(identities, what="demo", unit="animals") as bar:
        for place, kind in enumerate(kinds):
            (out / "images" / kind.dataset).mkdir(parents=True)
            light = np.random.default_rng((seed, 1, place))
            scenes = [kind.scene(light, grounds=kind.grounds, zoom=kind.zoom) for _ in range(PLACES)]
            for number in range(place, identities, species):
                rows += _individual(kind, number // species, scenes, out=out, most=images, size=size, key=(seed, 2, number))
                bar.update()
    with open(out / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    names, tests = [row["identity"] for row in rows], sum(row["split"] == "test" for row in rows)
    return {
        "images": len(rows), "identities": len(set(names)), "singles": sum(names.count(name) == 1 for name in set(names)),
        "train": len(rows) - tests, "test": tests,
        "datasets": {kind.dataset: sum(row["dataset"] == kind.dataset for row in rows) for kind in kinds},
    }  # fmt: skip


def _choose(species: int, only: Sequence[str]) -> tuple[Kind, ...]:
    """The first so many kinds, or those of the data sets that are named."""
    if not 1 <= species <= len(KINDS):
        raise ValueError(f"species={species} must be 1 to {len(KINDS)}")
    names = [kind.dataset for kind in KINDS]
    if unknown := sorted(set(only) - set(names)):
        raise ValueError(f"only={','.join(only)}: {unknown[0]} is none of {', '.join(names)}")
    return tuple(kind for kind in KINDS if kind.dataset in only) if only else KINDS[:species]


def _check(out: Path, *, species: int, identities: int, images: int, size: int) -> None:
    if identities < 2 * species:
        raise ValueError(f"identities={identities} must be 2 a species or more, {2 * species} here")
    if images < 3:
        raise ValueError(f"images={images} must be 3 or more")
    if size < 64:
        raise ValueError(f"size={size} must be 64 pixels or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already holds files, which would mix with the new ones; choose an empty folder")


def _individual(
    kind: Kind, number: int, scenes: list[Scene], *, out: Path, most: int, size: int, key: tuple[int, ...]
) -> list[dict]:
    """Draw all photographs of one individual; its rows."""
    met = encounters(kind, most, np.random.default_rng((*key, 0)), first_cluster=100 * key[-1])
    drawn = {side: _drawn(kind, number, side, size=round(1.15 * size), key=key) for side in {one.side for one in met}}
    rows, identity = [], f"{kind.dataset}_{number + 1:03}"
    for turn, encounter in enumerate(met):
        for image in range(encounter.images):
            path = f"images/{kind.dataset}/{identity}_{len(rows) + 1:02}.jpg"
            picture = _picture(
                kind, *drawn[encounter.side], scenes[encounter.place], size=size, of_encounter=(*key, 1, turn), image=image
            )
            picture.save(out / path, quality=92)
            rows.append({
                "identity": identity, "path": path, "dataset": kind.dataset, "species": kind.species,
                "split": "test" if encounter.test else "train", "date": encounter.day, "orientation": encounter.side,
                "cluster_id": encounter.cluster,
            })  # fmt: skip
    return rows


def encounters(kind: Kind, most: int, rng: np.random.Generator, *, first_cluster: int) -> list[Encounter]:
    """One to three images each, in order of time. The last third of them are test; first and last show the same side."""
    left = 1 if rng.random() < SINGLE else int(rng.integers(3, most + 1))
    sizes = []
    while left:
        # an individual of three images or more has two encounters or more
        sizes.append(int(min(left, rng.integers(1, 4 if sizes else 3))))
        left -= sizes[-1]
    sided = kind.orientation == "sides"
    main, other = rng.permutation(["left", "right"]).tolist() if sided else (kind.orientation, "")
    day, tests, made = FIRST_DAY + timedelta(days=int(rng.integers(0, 400))), len(sizes) // 3 or int(len(sizes) > 1), []
    for turn, count in enumerate(sizes):
        day += timedelta(days=int(rng.integers(30, 500)))
        test = turn >= len(sizes) - tests
        aside = sided and turn > 0 and not test and rng.random() < OTHER_SIDE
        known = kind.dated and (kind.orientation == "top" or rng.random() >= UNKNOWN_DATE)
        made.append(Encounter(
            images=count, place=int(rng.integers(PLACES)), side=other if aside else main, day=str(day) if known else "",
            cluster=str(first_cluster + turn) if kind.clustered else "", test=test,
        ))  # fmt: skip
    return made


def _drawn(kind: Kind, number: int, side: str, *, size: int, key: tuple[int, ...]) -> tuple[np.ndarray, Star | None]:
    """The chart of one side of an individual; with a star what its posture needs."""
    rng = np.random.default_rng((*key, 2, side == "left"))
    if kind.species == "sea star":
        look = star(number + OTHERS, rng)
        return paint(look, size=size), look
    if kind.species == "tiger":
        return tiger(rng, side=side, size=size), None
    return {"sea turtle": turtle, "whale": fluke, "cow": cow}[kind.species](rng, size=size), None


def _picture(
    kind: Kind, chart: np.ndarray, look: Star | None, scene: Scene, *, size: int, of_encounter: tuple, image: int
) -> Image.Image:
    """One photograph; in a burst all are of one pose but for a small step."""
    small = np.random.default_rng((*of_encounter, image))
    rng = np.random.default_rng((*of_encounter, 0 if kind.clustered else image))
    width = round(size * rng.uniform(0.92, 1.08))
    height = round(width * kind.flat * rng.uniform(0.95, 1.05))
    pose = lying(scene, rng) if kind.above or kind.scene is under_water else _upright(scene, rng)
    if kind.clustered:
        pose = replace(pose, turn=pose.turn + small.normal(0, 0.03), scale=pose.scale * small.uniform(0.96, 1.04))
    posture = bend(look, rng) if look else None
    return photograph(chart, pose, scene, width=width, height=height, rng=rng, bend=posture)[0]


def _upright(scene: Scene, rng: np.random.Generator) -> Pose:
    """Seen from the side, from a little before or behind."""
    return Pose(
        turn=rng.normal(0, 0.1), scale=scene.zoom * rng.uniform(0.9, 1.08), shift=tuple(rng.uniform(-0.12, 0.12, 2)),
        tilt=(rng.uniform(-0.18, 0.18), rng.uniform(-0.05, 0.05)), squash=rng.uniform(0.88, 1.08),
    )  # fmt: skip
