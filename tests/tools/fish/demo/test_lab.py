"""The synthetic FishNet has the real layout, the real columns, a long tail, and looks that follow its labels."""

import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tarpon.tools.fish.demo import lab as fish
from tarpon.tools.fish.demo.drawing import PATTERNS, PLANS, TAILS, Look, draw, family_plan
from tarpon.tools.fish.demo.taxa import TAXA
from tarpon.tools.fish.demo.water import Habitat, water

REAL = ["", "Unnamed: 0", "species", "image", "SpecCode", "Genus", "Subfamily", "Family", "Order", "Class", "SuperClass",
        "source", "Folder", "Troph", "FeedingPath", "Tropical", "Temperate", "Subtropical", "Boreal", "Polar", "freshwater",
        "saltwater", "brackish", "NewOrder", "Frequency"]  # fmt: skip


def rows(lab: Path) -> dict[str, list[dict]]:
    found = {}
    for split in ("train", "test"):
        with open(lab / f"anns/{split}.csv", newline="") as file:
            table = csv.DictReader(file)
            found[split] = list(table)
            assert table.fieldnames == REAL
    return found


def test_rows_are_written_as_in_the_real_files(fish_lab):
    table = [row for part in rows(fish_lab).values() for row in part]
    for row in table:
        inat = row["source"] == "inat"
        assert row["source"] in ("inat", "fishbase")
        assert (row["species"] == "") == inat == (row["SpecCode"] == "")
        assert row["image"].startswith("https://www.fishbase.se/images/species/") != inat
        assert row["Family"] == row["Folder"]
        attributes = [row[name] for name in ("Troph", "FeedingPath", *fish.HABITATS)]
        assert all(attributes) or not any(attributes)
        if any(attributes):
            assert set(attributes[2:]) <= {"0", "1"}
            assert "1" in attributes[2:]
            assert 2 <= float(attributes[0]) <= 5
    blank = sum(not row["Troph"] for row in table)
    assert 1 <= blank <= 0.12 * len(table)
    by_family = defaultdict(set)
    for row in table:
        by_family[row["Family"]].add(row["NewOrder"])
    assert all(len(orders) == 1 for orders in by_family.values())
    assert any("/" in row["NewOrder"] for row in table)
    raw = {(row["Family"], row["source"]): row["Order"] for row in table}
    assert raw["Labridae", "inat"] != raw["Labridae", "fishbase"]


def test_the_tail_is_long():
    counts = fish.sizes(1200, families=24)
    assert sum(counts) == 1200
    assert sum(count > 100 for count in counts) in (3, 4, 5)
    assert sum(2 <= count <= 10 for count in counts) >= 5
    assert counts.count(1) >= 2
    assert counts == sorted(counts, reverse=True)
    for images, families in ((8, 2), (150, 12), (128, 32)):
        assert sum(fish.sizes(images, families=families)) == images
        assert min(fish.sizes(images, families=families)) >= 1


def test_files_and_faults_are_there(tmp_path):
    made = fish.write(tmp_path, images=60, families=6, size=64, workers=1)
    files = {f"{path.parent.name}/{path.name}": path for path in (tmp_path / "images").rglob("*.jpg")}
    kinds = Counter(fault["kind"] for fault in made["faults"])
    assert kinds == {"truncated": 1, "empty": 1, "text": 1, "no_row": 2, "no_image": 2}
    assert len(files) == 60 + 3 + 2
    listed = [f"{row['Folder']}/{row['image'].rpartition('/')[2]}" for part in rows(tmp_path).values() for row in part]
    assert len(set(listed)) == len(listed) == made["train"] + made["test"] == 60 + 3 + 2
    wrong = {fault["file"]: fault["kind"] for fault in made["faults"]}
    assert {name for name, kind in wrong.items() if kind == "no_row"} == set(files) - set(listed)
    assert {name for name, kind in wrong.items() if kind == "no_image"} == set(listed) - set(files)
    for name in set(files) - set(wrong):
        with Image.open(files[name]) as picture:
            picture.load()
            assert 64 * 0.6 < min(picture.size) <= max(picture.size) < 64 * 1.15


def test_the_seed_decides_and_the_number_of_processes_does_not(tmp_path):
    def digest(name: str, **options) -> str:
        fish.write(tmp_path / name, images=40, families=4, size=48, **options)
        paths = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        return hashlib.sha256(
            b"".join(str(p.relative_to(tmp_path / name)).encode() + p.read_bytes() for p in paths)
        ).hexdigest()

    first = digest("one", workers=1)
    assert digest("two", workers=2) == first
    assert digest("other", workers=1, seed=1) != first


def scene(**on: bool) -> np.ndarray:
    habitat = Habitat(**dict.fromkeys((name.lower() for name in fish.HABITATS), False) | on)
    return np.asarray(water(habitat, width=200, height=150, rng=np.random.default_rng(0))).astype(int)


@pytest.mark.parametrize("name", [name.lower() for name in fish.HABITATS])
def test_every_habitat_is_to_be_seen(name):
    changed = np.abs(scene(**{name: True}) - scene()).max(-1) > 30
    assert changed.mean() > 0.004


def look(**change) -> Look:
    whole = {
        "plan": PLANS["perch"],
        "body": (200, 120, 60),
        "mark": (30, 30, 40),
        "pattern": "plain",
        "troph": 2.5,
        "benthic": False,
    }
    return Look(**whole | change)


def picture(what: Look) -> np.ndarray:
    nowhere = Habitat(**dict.fromkeys((name.lower() for name in fish.HABITATS), False))
    return np.asarray(draw(what, nowhere, width=160, height=120, rng=np.random.default_rng(5))).astype(int)


@pytest.mark.parametrize("change", [
    *({"pattern": name} for name in PATTERNS[1:]), *({"plan": plan} for name, plan in PLANS.items() if name != "perch"),
    {"troph": 4.5}, {"benthic": True},
])  # fmt: skip
def test_what_differs_in_the_labels_differs_in_the_picture(change):
    changed = np.abs(picture(look(**change)) - picture(look())).max(-1) > 40
    assert changed.sum() > 15


@pytest.mark.parametrize("plan", PLANS)
def test_a_fish_fills_a_good_part_of_its_picture_and_stays_inside(plan):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        shape = family_plan(plan, rng)
        assert shape.tail in (*TAILS, "shark")
        bare, found = (picture(look(plan=shape, body=colour, mark=colour)) for colour in ((255, 0, 255), (0, 255, 0)))
        fish_pixels = np.abs(bare - found).max(-1) > 60
        assert 0.02 < fish_pixels.mean() < 0.6
        assert not fish_pixels[0].any()
        assert not fish_pixels[-1].any()


def test_every_family_has_a_plan_and_one_harmonised_order():
    assert len({name for name, *_ in TAXA}) == len(TAXA)
    assert all(plan in PLANS for *_, plan in TAXA)


@pytest.mark.parametrize("wrong", [{"families": 1}, {"families": 99}, {"images": 10}, {"size": 8}, {"workers": 0}])
def test_a_wrong_setting_is_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        fish.write(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_an_occupied_folder_is_refused(fish_lab):
    with pytest.raises(ValueError, match="choose an empty folder"):
        fish.write(fish_lab)
