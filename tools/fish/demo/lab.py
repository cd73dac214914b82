"""A synthetic FishNet: images of drawn fish in family folders, train.csv and test.csv with the real columns.

The layout, the names and the faults are those of the real data set: a long tail of families, two sources that name orders
differently, attributes missing by row, some files that do not decode, some without a row and some rows without a file.
"""

import csv
import math
import os
import uuid
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tarpon.shards.progress import Progress
from tarpon.tools.fish.demo.drawing import PATTERNS, Look, colours, draw, family_plan
from tarpon.tools.fish.demo.taxa import TAXA
from tarpon.tools.fish.demo.water import Habitat

FOLDERS = ("images", "anns")
HABITATS = ("Tropical", "Temperate", "Subtropical", "Boreal", "Polar", "freshwater", "saltwater", "brackish")
COLUMNS = (
    "", "Unnamed: 0", "species", "image", "SpecCode", "Genus", "Subfamily", "Family", "Order", "Class", "SuperClass", "source",
    "Folder", "Troph", "FeedingPath", *HABITATS, "NewOrder", "Frequency",
)  # fmt: skip
TEST_SHARE, BLANK_SHARE, FISHBASE_SHARE, NAMELESS_SHARE = 0.2, 0.05, 0.45, 0.005
TAIL = 6.4  # the largest family is e to this times the smallest
PER_SPECIES = 8  # images, about
URL = "https://www.fishbase.se/images/species/"
CHUNK = 32  # images a process draws at a time
FAULTS = {"truncated": lambda whole: whole[: len(whole) // 2], "empty": lambda _: b"", "text": lambda _: b"404 Not Found\n"}


@dataclass(frozen=True, kw_only=True)
class Species:
    """What all images of one species share."""

    family: int  # in TAXA
    name: str  # of two words
    code: int
    look: Look
    habitat: tuple[int, ...]  # (8,) in the order of HABITATS


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One image to make. All its randomness comes from `seed`, so the order of making does not matter."""

    species: Species
    name: str  # of the file
    fishbase: bool
    test: bool
    blank: bool  # its attributes are missing
    nameless: bool  # its genus is missing
    seed: tuple[int, int]

    @property
    def folder(self) -> str:
        return TAXA[self.species.family][0]


def write(
    out: Path, *, images: int = 1200, families: int = 24, seed: int = 0, size: int = 160, workers: int | None = None
) -> dict:
    """Write `out/images/<family>/*.jpg` and `out/anns/{train,test}.csv`.

    Args:
        images: files of the long tail, from 4 a family up; faults come on top.
        families: 2 to 32.
        size: pixels, of the longer side about.
        workers: processes; None takes one a usable core. The files do not depend on it.

    Returns:
        Counts `images`, `families`, `species`, `train`, `test` (rows), `blank`; `largest` and `singletons` among the families;
        and `faults`: a list of {"file", "kind"}, what packing must refuse, relative to the images folder.
    """
    out = Path(out)
    _check(out, images=images, families=families, size=size, workers=workers)
    counts = sizes(images, families=families)
    shots = [shot for family, count in enumerate(counts) for shot in _family(family, count, seed=seed)]
    for name in ("anns", *(f"images/{TAXA[family][0]}" for family in range(families))):
        (out / name).mkdir(parents=True, exist_ok=True)
    _draw_all(shots, out=out, size=size, workers=workers or len(os.sched_getaffinity(0)))
    rows = [(shot.test, _row(shot, counts)) for shot in shots]
    faults = _spoil(out, shots, rows, rng=np.random.default_rng((seed, 999)))
    for split, wanted in (("train", False), ("test", True)):
        _write_csv(
            out / "anns" / f"{split}.csv", [row for test, row in rows if test is wanted], rng=np.random.default_rng((seed, 998))
        )
    return {
        "images": images,
        "families": families,
        "species": len({shot.species.name for shot in shots}),
        "train": sum(not test for test, _ in rows),
        "test": sum(test for test, _ in rows),
        "blank": sum(shot.blank for shot in shots),
        "largest": max(counts),
        "singletons": counts.count(1),
        "faults": faults,
    }


def sizes(images: int, *, families: int) -> list[int]:
    """Images of each family, from the largest down, by a geometric law; none is empty."""
    weight = np.exp(-TAIL * np.arange(families) / families)
    counts = np.maximum(np.rint(images * weight / weight.sum()), 1).astype(int)
    counts[0] += images - counts.sum()
    return counts.tolist()


def _check(out: Path, *, images: int, families: int, size: int, workers: int | None) -> None:
    if not 2 <= families <= len(TAXA):
        raise ValueError(f"families={families} must be 2 to {len(TAXA)}")
    if images < 4 * families:
        raise ValueError(f"images={images} must be 4 a family or more, {4 * families} here")
    if size < 48:
        raise ValueError(f"size={size} must be 48 pixels or more")
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers} must be 1 or more, or None for one a core")
    for folder in FOLDERS:
        if (out / folder).is_dir() and any((out / folder).iterdir()):
            raise ValueError(f"{out / folder} already holds files, which would mix with the new ones; choose an empty folder")


def _family(family: int, count: int, *, seed: int) -> list[Shot]:
    """The images of one family, species by species; about a fifth are test images, of a singleton none."""
    rng = np.random.default_rng((seed, family))
    known = _species(family, max(1, round(count / PER_SPECIES)), rng=rng)
    of = np.sort(np.concatenate([np.arange(len(known)), rng.integers(0, len(known), count)])[:count])
    test = np.zeros(count, bool)
    test[rng.permutation(count)[: math.floor(TEST_SHARE * count + 0.5)]] = True
    shots = []
    for number, place in enumerate(of):
        species, fishbase = known[place], bool(rng.random() < FISHBASE_SHARE)
        genus, second = species.name.split()
        name = f"{genus[:2]}{second[:3]}_u{number}.jpg" if fishbase else f"{uuid.UUID(bytes=rng.bytes(16), version=4)}.jpg"
        shots.append(Shot(
            species=species, name=name, fishbase=fishbase, test=bool(test[number]), blank=bool(rng.random() < BLANK_SHARE),
            nameless=bool(fishbase and rng.random() < NAMELESS_SHARE), seed=(seed, family * 100_000 + number),
        ))  # fmt: skip
    return shots


def _species(family: int, count: int, *, rng: np.random.Generator) -> list[Species]:
    """A family's species: one plan and one hue, patterns by turns; diet and habitat vary about the family's own."""
    name, *_, plan = TAXA[family]
    shape, hue = family_plan(plan, rng), family * 0.618 % 1
    turn, troph = rng.integers(len(PATTERNS)), rng.uniform(2.3, 4.5)
    home, benthic = _home(rng), bool(rng.random() < 0.7)
    made = []
    for number in range(count):
        body, mark = colours(hue, rng)
        genus = f"{name[:-4]}{('us', 'ops', 'ella')[number // 3 % 3]}"
        level = float(np.clip(round(troph + rng.normal(0, 0.25), 2), 2, 4.9))
        pattern = PATTERNS[(turn + number) % len(PATTERNS)]
        look = Look(plan=shape, body=body, mark=mark, pattern=pattern, troph=level, benthic=benthic ^ bool(rng.random() < 0.1))
        made.append(Species(
            family=family, name=f"{genus} {_epithet(number)}", code=1000 * (family + 1) + number, look=look,
            habitat=tuple(_home(rng)) if rng.random() < 0.2 else tuple(home),
        ))  # fmt: skip
    return made


def _home(rng: np.random.Generator) -> list[int]:
    """(8,) 0 or 1: neighbouring climates, and at least one kind of water."""
    warm = rng.choice([0, 1, 2, 3], p=[0.45, 0.3, 0.17, 0.08])
    climates = ([1, 0, 1, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 1, 1])[warm]
    waters = ([0, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1])[rng.choice(4, p=[0.5, 0.25, 0.12, 0.13])]
    return [*climates, *waters]


def _epithet(number: int) -> str:
    heads, tails = ("alb", "rub", "vir", "nig", "flav", "caer", "gris"), ("ifer", "escens", "atus", "icola", "ipinnis")
    return heads[number % 7] + tails[number // 7 % 5] + "i" * (number // 35)


def _draw_all(shots: list[Shot], *, out: Path, size: int, workers: int) -> None:
    parts = [shots[i : i + CHUNK] for i in range(0, len(shots), CHUNK)]
    with Progress(len(shots), what="demo", unit="images") as bar:
        if min(workers, len(parts)) == 1:
            for part in parts:
                bar.update(draw_shots(part, out, size))
            return
        # spawn: the caller may hold threads or a GPU context, and neither survives a fork
        with ProcessPoolExecutor(min(workers, len(parts)), mp_context=get_context("spawn")) as pool:
            for done in pool.map(draw_shots, parts, [out] * len(parts), [size] * len(parts)):
                bar.update(done)


def draw_shots(shots: list[Shot], out: Path, size: int) -> int:
    """Draw and write some images; how many."""
    for shot in shots:
        rng = np.random.default_rng(shot.seed)
        habitat = Habitat(**{name.lower(): bool(on) for name, on in zip(HABITATS, shot.species.habitat, strict=True)})
        width, height = round(size * rng.uniform(0.9, 1.1)), round(size * rng.uniform(0.65, 0.85))
        picture = draw(shot.species.look, habitat, width=width, height=height, rng=rng)
        if rng.random() < 0.01:
            picture = picture.convert("L")  # an old plate
        picture.save(out / "images" / shot.folder / shot.name, format="JPEG", quality=88)
    return len(shots)


def _row(shot: Shot, counts: list[int]) -> dict[str, object]:
    """The annotation of an image, with the real columns; blanks are blank strings."""
    family, new, fishbase, inat, plan = TAXA[shot.species.family]
    genus = shot.species.name.split()[0]
    row = dict.fromkeys(COLUMNS, "") | {
        "image": URL + shot.name if shot.fishbase else shot.name,
        "Genus": "" if shot.nameless else genus,
        "Family": family,
        "Order": fishbase if shot.fishbase else inat,
        "Class": "Elasmobranchii" if plan == "shark" else "Teleostei" if shot.fishbase else "Actinopterygii",
        "source": "fishbase" if shot.fishbase else "inat",
        "Folder": family,
        "NewOrder": new,
        "Frequency": float(sum(count for count, taxon in zip(counts, TAXA, strict=False) if taxon[1] == new)),
    }
    if shot.fishbase:
        row |= {"species": shot.species.name, "SpecCode": float(shot.species.code), "SuperClass": "Gnathostomata"}
    if not shot.blank:
        row |= {"Troph": shot.species.look.troph, "FeedingPath": "benthic" if shot.species.look.benthic else "pelagic"}
        row |= dict(zip(HABITATS, map(str, shot.species.habitat), strict=True))
    return row


def _spoil(out: Path, shots: list[Shot], rows: list[tuple[bool, dict]], *, rng: np.random.Generator) -> list[dict[str, str]]:
    """Add what goes wrong: copies of files of the largest family, spoilt, and what has only a file or only a row."""
    model, faults = next(i for i, shot in enumerate(shots) if not shot.fishbase), []
    test, row = rows[model]
    whole = (out / "images" / shots[model].folder / shots[model].name).read_bytes()
    for kind in (*FAULTS, "no_row", "no_row", "no_image", "no_image"):
        name = f"{uuid.UUID(bytes=rng.bytes(16), version=4)}.jpg"
        if kind != "no_image":
            (out / "images" / shots[model].folder / name).write_bytes(FAULTS.get(kind, lambda whole: whole)(whole))
        if kind != "no_row":
            rows.append((test, row | {"image": name}))
        faults.append({"file": f"{shots[model].folder}/{name}", "kind": kind})
    return faults


def _write_csv(path: Path, rows: list[dict], *, rng: np.random.Generator) -> None:
    """Shuffled, with the row's place before shuffling in the first two columns."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for place in rng.permutation(len(rows)).tolist():
            table.writerow(rows[place] | {"": place, "Unnamed: 0": place})
