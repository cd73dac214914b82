"""A synthetic sea-star data set: photographs of drawn stars in `<DATASET>/<individual>/<outing>` folders over many dates.

All individuals of a site are seen on the same few visits, and a visit's light, water and ground are everybody's that day: they
tell no individual. The faults and spellings of real folders are planted, and truth.json says where.
"""

import json
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from tarpon.shards.progress import Progress
from tarpon.tools.star.demo.drawing import Star, bend, lying, paint, star
from tarpon.tools.star.demo.scene import Bend, Pose, Scene, in_air, photograph, under_water

SPELLINGS = ("{m}_{d}_{y}", "{m:02}_{d:02}_{y}", "{m}_{d}_{y}_survey", "{y}-{m:02}-{d:02}", "dive {y}-{m:02}-{d:02}")
SUFFIXES = (".jpg", ".jpg", ".jpg", ".JPG", ".jpeg")
UNDATED, UPRIGHT_TAG = "release_photos", 0x0112
PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A data set of its own."""

    name: str
    dates: tuple[str, ...]  # of the visits, ascending
    grounds: tuple[str, ...]
    cut: bool = False  # the ground is cut away


BAY = Site(name="DEMO_BAY_2023", grounds=("sand", "rock", "pebbles", "weed"), dates=(
    "2023-07-15", "2023-08-26", "2023-10-07", "2023-12-02", "2024-01-20", "2024-03-23", "2024-05-11", "2024-07-06",
))  # fmt: skip
REEF = Site(name="DEMO_REEF", grounds=("rock", "sand", "weed"), dates=(
    "2022-04-09", "2022-06-18", "2022-09-03", "2023-02-11", "2023-05-20", "2023-09-30", "2024-04-27", "2024-10-12",
))  # fmt: skip
CUTS = Site(name="DEMO_CUTOUTS", grounds=("tank", "sand"), cut=True, dates=(
    "2022-11-05", "2023-01-14", "2023-03-25", "2023-06-10", "2023-11-18", "2024-02-03", "2024-06-01", "2024-09-21",
))  # fmt: skip
TILES = Site(name="DEMO_TILES", grounds=("tank",), dates=(
    "2021-05-01", "2021-08-14", "2021-11-27", "2022-03-05", "2022-07-16", "2022-10-29", "2023-04-08", "2023-08-12",
))  # fmt: skip
SITES = (BAY, REEF, CUTS, TILES)
TURNS = (BAY, BAY, REEF, CUTS)  # where the drawn individuals live
TWICE = BAY.dates.index("2024-03-23")  # the visit that has a morning and an evening folder


@dataclass(frozen=True, kw_only=True)
class Outing:
    """One folder of one individual."""

    folder: str
    day: str  # ISO, or "" when nobody wrote it down
    visit: int  # of the site
    images: int
    evening: bool = False


@dataclass(frozen=True, kw_only=True)
class Individual:
    """One star, drawn or from a photograph."""

    number: int
    site: Site
    name: str
    outings: tuple[Outing, ...]
    tile: Path | None = None

    @property
    def identity(self) -> str:
        return f"{self.site.name}__{self.name}"

    def days(self) -> list[str]:
        return sorted({outing.day for outing in self.outings if outing.day})


def write(
    out: Path, *, identities: int = 24, distractors: int = 6, sessions: int = 5, images: int = 4, size: int = 176,
    seed: int = 0, tiles: Path | None = None,
) -> dict:  # fmt: skip
    """Write `out/<DATASET>/<individual>/<outing>/*` and `out/truth.json`.

    Args:
        identities: seen on two dates or more.
        distractors: further ones, seen on one date.
        sessions: dates of an individual, one more or less.
        images: of an outing, one more or less.
        size: pixels, of a photograph's longer side about.
        tiles: a folder of photographs; each becomes one more individual, warped and lit anew for every date.

    Returns:
        What truth.json holds: `counts`, `planted` (paths relative to `out`), and `identities` with their sessions and looks.
    """
    out = Path(out)
    _check(out, identities=identities, distractors=distractors, sessions=sessions, images=images, size=size)
    found = _tiles(Path(tiles)) if tiles else []
    animals = individuals(found, identities=identities, distractors=distractors, sessions=sessions, images=images, seed=seed)
    scenes = {site.name: _scenes(site, np.random.default_rng((seed, 2, place))) for place, site in enumerate(SITES)}
    planted: dict[str, list] = {"unreadable": [], "exif": [], "undated": [], "same_day": [], "transparent": [], "black": []}
    told = {}
    with Progress(len(animals), what="demo", unit="stars") as bar:
        for animal in animals:
            told[animal.identity] = _take(animal, scenes[animal.site.name], out=out, size=size, seed=seed, planted=planted)
            bar.update()
    _spoil(out, animals[0], planted)
    counts = {
        "images": sum(outing.images for animal in animals for outing in animal.outings), "identities": len(animals),
        "distractors": sum(len(animal.days()) == 1 for animal in animals),
        "sessions": sum(len(animal.days()) for animal in animals),
        "undated": sum(outing.images for animal in animals for outing in animal.outings if not outing.day),
        "unreadable": len(planted["unreadable"]),
    }  # fmt: skip
    truth = {"counts": counts, "planted": planted, "identities": told}
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    return truth


def _check(out: Path, *, identities: int, distractors: int, sessions: int, images: int, size: int) -> None:
    if identities < 4:
        raise ValueError(f"identities={identities} must be 4 or more")
    if distractors < 0:
        raise ValueError(f"distractors={distractors} must be 0 or more")
    if not 2 <= sessions < len(BAY.dates):
        raise ValueError(f"sessions={sessions} must be 2 to {len(BAY.dates) - 1}")
    if images < 1:
        raise ValueError(f"images={images} must be 1 or more")
    if size < 64:
        raise ValueError(f"size={size} must be 64 pixels or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already holds files, which would mix with the new ones; choose an empty folder")


def _tiles(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES)
    if not found:
        raise ValueError(f"tiles={folder} holds no {', '.join(PICTURES)}; give a folder of photographs, one an individual")
    return found


def individuals(
    tiles: list[Path], *, identities: int, distractors: int, sessions: int, images: int, seed: int
) -> list[Individual]:
    """Names are counted in every data set from 1, as people do: only with the data set's are they unique."""
    animals, named = [], dict.fromkeys((site.name for site in SITES), 0)
    for number in range(identities + distractors + len(tiles)):
        rng = np.random.default_rng((seed, 3, number))
        tile = tiles[number - identities - distractors] if number >= identities + distractors else None
        site = TILES if tile else TURNS[number % len(TURNS)]
        named[site.name] += 1
        seen = 1 if identities <= number < identities + distractors else max(2, sessions + int(rng.integers(-1, 2)))
        visits = rng.permutation(len(site.dates))[:seen]
        if number == 0 and TWICE not in visits:
            visits[0] = TWICE
        outings = [
            outing for visit in sorted(visits.tolist()) for outing in _outings(site, visit, images, rng, twice=number == 0)
        ]
        if number == 1:
            outings.append(Outing(folder=UNDATED, day="", visit=int(visits[0]), images=images))
        animals.append(Individual(
            number=number, site=site, name=f"star_{named[site.name]:02}", outings=tuple(outings), tile=tile
        ))  # fmt: skip
    return animals


def _outings(site: Site, visit: int, images: int, rng: np.random.Generator, *, twice: bool) -> list[Outing]:
    """The folder of one visit; of the visit that has two, both."""
    day = date.fromisoformat(site.dates[visit])
    spelt = SPELLINGS[rng.integers(len(SPELLINGS))]
    count = max(1, images + int(rng.integers(-1, 2)))
    if twice and visit == TWICE:
        half = {"visit": visit, "day": str(day), "images": (count + 1) // 2}
        stem = f"{day.month}_{day.day}_{day.year}"
        return [Outing(folder=f"{stem}_morning", **half), Outing(folder=f"{stem}_evening", evening=True, **half)]
    folder = spelt.format(y=day.year, m=day.month, d=day.day)
    return [Outing(folder=folder, day=str(day), visit=visit, images=count)]


def _scenes(site: Site, rng: np.random.Generator) -> list[Scene]:
    """One a visit."""
    make = in_air if site is TILES else under_water
    return [make(rng, grounds=site.grounds) for _ in site.dates]


def _take(animal: Individual, scenes: list[Scene], *, out: Path, size: int, seed: int, planted: dict) -> dict:
    """All photographs of one individual; its entry in the truth."""
    look = star(animal.number, np.random.default_rng((seed, 1, animal.number)))
    chart = _tile_chart(animal.tile, size) if animal.tile else paint(look, size=round(1.15 * size))
    taken = 0
    for place, outing in enumerate(animal.outings):
        folder = out / animal.site.name / animal.name / outing.folder
        folder.mkdir(parents=True)
        scene = scenes[outing.visit]
        if outing.evening:
            scene = replace(scene, gamma=1.15 * scene.gamma, sun=scene.sun + 2.0)
        for image in range(outing.images):
            rng, taken = np.random.default_rng((seed, 4, animal.number, place, image)), taken + 1
            picture, mask = _picture(animal, look, chart, scene, size=size, rng=rng)
            name = _save(picture, mask, folder / f"IMG_{taken:04}", animal, first=taken == 1, rng=rng, planted=planted)
            if not outing.day:
                planted["undated"].append(str(name.relative_to(out)))
    folders = {day: [outing.folder for outing in animal.outings if outing.day == day] for day in animal.days()}
    planted["same_day"] += [
        f"{animal.site.name}/{animal.name}/{folder}" for both in folders.values() if both[1:] for folder in both
    ]
    told = {"tile": animal.tile.name} if animal.tile else {"arms": len(look.angles), "marks": look.marks}
    return {"sessions": folders, "distractor": len(folders) == 1, **told}


def _picture(
    animal: Individual, look: Star, chart: np.ndarray, scene: Scene, *, size: int, rng: np.random.Generator
) -> tuple[Image.Image, Image.Image]:
    width = round(size * rng.uniform(0.92, 1.08))
    height = round(width * rng.uniform(0.74, 0.95))
    posture: Bend | None = None
    if animal.tile:
        pose = Pose(turn=rng.uniform(0, 2 * np.pi), scale=rng.uniform(0.95, 1.25), shift=tuple(rng.uniform(-0.1, 0.1, 2)),
                    tilt=tuple(rng.uniform(-0.1, 0.1, 2)))  # fmt: skip
    else:
        pose, posture = lying(scene, rng), bend(look, rng)
    return photograph(chart, pose, scene, width=width, height=height, rng=rng, bend=posture, fold=animal.tile is not None)


def _save(
    picture: Image.Image, mask: Image.Image, stem: Path, animal: Individual, *, first: bool, rng: np.random.Generator,
    planted: dict,
) -> Path:  # fmt: skip
    """Write one photograph; its path. Cut-outs are by turns black outside and transparent over the ground."""
    root = stem.parents[3]
    if animal.site.cut:
        path, box = stem.with_suffix(".png"), mask.getbbox()
        clear = animal.number // len(TURNS) % 2 == 1
        if clear:
            picture.putalpha(mask)
        else:
            picture = Image.composite(picture, Image.new("RGB", picture.size), mask)
        picture.crop(box).save(path)
        planted["transparent" if clear else "black"].append(str(path.relative_to(root)))
        return path
    path, exif = stem.with_suffix(SUFFIXES[rng.integers(len(SUFFIXES))]), Image.Exif()
    if animal.number == 2 and first:
        planted["exif"].append({"path": str(path.relative_to(root)), "width": picture.width, "height": picture.height})
        picture, exif[UPRIGHT_TAG] = picture.transpose(Image.Transpose.ROTATE_90), 6
    picture.save(path, format="JPEG", quality=92, exif=exif)
    return path


def _spoil(out: Path, animal: Individual, planted: dict) -> None:
    """Half a JPEG beside the first photographs of an individual."""
    folder = out / animal.site.name / animal.name / animal.outings[0].folder
    whole = next(iter(sorted(folder.iterdir()))).read_bytes()
    path = folder / "IMG_9999.jpg"
    path.write_bytes(whole[: len(whole) // 2])
    planted["unreadable"].append(str(path.relative_to(out)))


def _tile_chart(path: Path, size: int) -> np.ndarray:
    """The middle square of a photograph, without its rim, as a chart without outline or relief."""
    with Image.open(path) as picture:
        side = round(0.96 * min(picture.size))
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.convert("RGB").crop((left, top, left + side, top + side)).resize((size, size))
    flat = np.ones((size, size, 2), np.float32) * np.array([1, 0], np.float32)
    return np.concatenate([np.asarray(square, np.float32) / 255, flat], -1)
