"""Files and rows meet by folder and base name; what does not fit is named; missing stays missing; validation is fair."""

import csv
import hashlib
import io
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tarpon.shards.quarantine import Fault
from tarpon.shards.reader import Reader
from tarpon.shards.sources.fish import source as fish
from tarpon.tools.fish.demo.lab import COLUMNS, HABITATS, TAXA


def jpeg(seed: int, *, size=(24, 16), form="JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8)).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture
def lab(tmp_path):
    """lab(files={name: bytes}, train=[name or row], test=[...]) writes a folder; a name alone is a row without attributes."""

    def write(*, files: dict[str, bytes], train=(), test=()) -> Path:
        (tmp_path / "lab/anns").mkdir(parents=True)
        (tmp_path / "lab/images").mkdir()
        for name, content in files.items():
            (tmp_path / "lab/images" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "lab/images" / name).write_bytes(content)
        for split, rows in (("train", train), ("test", test)):
            with open(tmp_path / f"lab/anns/{split}.csv", "w", newline="") as file:
                table = csv.DictWriter(file, COLUMNS)
                table.writeheader()
                for row in rows:
                    row = {"name": row} if isinstance(row, str) else dict(row)
                    folder, _, image = row.pop("name").partition("/")
                    table.writerow(dict.fromkeys(COLUMNS, "") | {"Folder": folder, "image": image, "NewOrder": "O/x"} | row)
        return tmp_path / "lab"

    return write


def told(faults: list[Fault]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for fault in faults:
        found[fault.file].append(fault.reason)
    return dict(found)


def test_files_and_rows_meet_by_folder_and_name(lab, tmp_path, pack_fish):
    files = {f"{family}/{name}.jpg": jpeg(number) for number, (family, name) in enumerate(
        [("A", "x"), ("A", "y"), ("B", "x"), ("B", "spare")])}  # fmt: skip
    folder = lab(files=files, train=["A/x.jpg", "B/y.jpg", "B/https://where.org/a/b/x.jpg"], test=["A/y.jpg", "B/X.jpg"])
    (folder / "images/B/._x.jpg").write_bytes(b"Mac OS X")
    (folder / "images/B/deep").mkdir()
    (folder / "images/readme.txt").write_text("hello")
    manifest, faults = pack_fish(folder, tmp_path / "out")
    rows = {row["source"]: row for row in manifest.table.to_pylist()}
    assert {name: row["split"] for name, row in rows.items()} == {"A/x.jpg": "train", "B/x.jpg": "train", "A/y.jpg": "test"}
    assert {row["key"] for row in rows.values()} == {"A-x", "A-y", "B-x"}
    reader = Reader(manifest)
    for place, row in enumerate(manifest.table.to_pylist()):
        assert reader.read(place, "jpg") == files[row["source"]]
        assert row["source_sha256"] == row["jpg_sha256"] == hashlib.sha256(files[row["source"]]).hexdigest()
    assert told(faults) == {
        "B/spare.jpg": ["no row in train.csv or test.csv"],
        "B/y.jpg": ["train.csv: a row without an image"],
        "B/X.jpg": ["test.csv: a row without an image"],
        "B/deep": ["not a file"],
        "B/._x.jpg": ["a name that begins with a dot: a hidden file, or a Mac's companion of another one"],
        "readme.txt": ["not in a family's folder"],
    }
    assert {fault.file: fault.row for fault in faults if fault.row} == {"B/y.jpg": 3, "B/X.jpg": 3}


def test_doubtful_images_are_left_out_by_name(lab, tmp_path, pack_fish):
    files = {f"A/{name}.jpg": jpeg(number) for number, name in enumerate("abcd")}
    files |= {
        "A/d.png": jpeg(9, form="PNG"),
        "A/cut.jpg": jpeg(5, size=(200, 150))[:-300],
        "A/none.jpg": b"",
        "A/text.jpg": b"sorry",
    }
    partly = {"name": "A/c.jpg", "Troph": "3"}
    folder = lab(files=files, train=["A/a.jpg", "A/b.jpg", "A/b.jpg", "A/cut.jpg", "A/none.jpg", "A/d.jpg", "A/d.png"],
                 test=["A/a.jpg", partly, "A/text.jpg"])  # fmt: skip
    manifest, faults = pack_fish(folder, tmp_path / "out")
    assert manifest.table["source"].to_pylist() == ["A/d.jpg"]
    assert told(faults) == {
        "A/a.jpg": ["train.csv: more than one row for this image", "test.csv: more than one row for this image"][::-1],
        "A/b.jpg": ["train.csv: more than one row for this image"] * 2,
        "A/c.jpg": ["test.csv: some attributes are blank and some are not"],
        "A/cut.jpg": ["does not decode (image file is truncated)"],
        "A/d.png": ["named like A/d.jpg, but for the extension or signs that a key may not hold"],
        "A/none.jpg": ["the file is empty"],
        "A/text.jpg": ["not an image of a known format"],
    }


def test_the_same_picture_twice(lab, tmp_path, pack_fish):
    """Test images stay as given; a training copy of one goes, as does a second copy, and both where families differ."""
    one, two, three, four = (jpeg(number) for number in range(4))
    files = {"A/t1.jpg": one, "A/copy.jpg": one, "A/t2.jpg": one, "A/x.jpg": two, "A/y.jpg": two, "B/z.jpg": three,
             "A/z.jpg": three, "A/alone.jpg": four}  # fmt: skip
    train = ["A/copy.jpg", "A/y.jpg", "A/x.jpg", "A/z.jpg", "B/z.jpg", "A/alone.jpg"]
    manifest, faults = pack_fish(lab(files=files, train=train, test=["A/t1.jpg", "A/t2.jpg"]), tmp_path / "out")
    assert sorted(manifest.table["source"].to_pylist()) == ["A/alone.jpg", "A/t1.jpg", "A/t2.jpg", "A/x.jpg"]
    assert told(faults) == {
        "A/copy.jpg": ["the same picture is a test image"],
        "A/y.jpg": ["the same picture as another training image"],
        "A/z.jpg": ["the same picture is in another family's folder"],
        "B/z.jpg": ["the same picture is in another family's folder"],
    }


def test_labels_go_into_the_manifest_and_into_the_tar(lab, tmp_path, pack_fish):
    full = {"name": "A/x.jpg", "species": "Aa bb", "Genus": "Aa", "NewOrder": "Perciformes/X", "Troph": "3.35",
            "FeedingPath": "pelagic", **dict(zip(HABITATS, "10010110", strict=True))}  # fmt: skip
    folder = lab(files={"A/x.jpg": jpeg(0), "A/y.png": jpeg(1, size=(90, 60), form="PNG")}, train=[full, "A/y.png"])
    manifest, _ = pack_fish(folder, tmp_path / "out", source=fish.FishSource(short_side=32))
    assert manifest.table.select(["jpg_offset", "jpg_size", "jpg_sha256", "json_size"]).num_columns == 4
    known, blank = sorted(manifest.table.to_pylist(), key=lambda row: row["source"])
    assert known["habitat"] == [1, 0, 0, 1, 0, 1, 1, 0]
    assert known["troph"] == np.float32(3.35)
    assert [known[name] for name in ("family", "order", "species", "genus", "feeding", "group")] == [
        "A", "Perciformes", "Aa bb", "Aa", "pelagic", "Aa bb"]  # fmt: skip
    assert [blank[name] for name in fish.NULLABLE[1:]] == [None] * 5
    assert (blank["group"], blank["width"], blank["height"]) == ("A/y.png", 48, 32)
    reader = Reader(manifest)
    for place, row in enumerate(manifest.table.to_pylist()):
        inside = json.loads(reader.read(place, "json"))
        assert inside["habitat"] == row["habitat"]
        assert inside["species"] == row["species"]
        with Image.open(io.BytesIO(reader.read(place, "jpg"))) as picture:
            assert (picture.size, picture.format) == ((row["width"], row["height"]), "JPEG")


def test_the_demo_packs_to_what_its_rows_say(fish_lab, fish_shards):
    """The CSVs read again by the csv module are the oracle."""
    rows = {}
    for split in ("train", "test"):
        with open(fish_lab / f"anns/{split}.csv", newline="") as file:
            for row in csv.DictReader(file):
                rows[f"{row['Folder']}/{row['image'].rpartition('/')[2]}"] = row | {"split": split}
    assert len(fish_shards) == 150
    blank = 0
    for row in fish_shards.table.to_pylist():
        told = rows[row["source"]]
        assert (row["split"] == "test") == (told["split"] == "test")
        assert row["order"] == told["NewOrder"].split("/")[0]
        assert (row["species"] or "") == told["species"]
        blank += row["habitat"] is None
        expected = [int(told[name]) for name in HABITATS] if told["Polar"] else None
        assert row["habitat"] == expected
        assert (row["troph"] is None) == (told["Troph"] == "")
    assert blank > 0
    card = fish_shards.card
    assert card["families"] == sorted(name for name, *_ in TAXA[:12])
    assert card["habitats"] == list(HABITATS)
    assert card["families_of_several_orders"] == 0
    named = defaultdict(set)
    for name, split in zip(*(fish_shards.table[c].to_pylist() for c in ("species", "split")), strict=True):
        named[name].add(split == "test")
    del named[None]
    assert card["species"] == {"named": len(named), "in_train_or_val_and_test": sum(len(s) == 2 for s in named.values())}


def test_validation_is_cut_by_family_and_species_and_singletons_stay(fish_shards):
    table = [row for row in fish_shards.table.to_pylist() if row["split"] != "test"]
    by_group = defaultdict(set)
    for row in table:
        by_group[row["group"]].add(row["split"])
    assert all(len(splits) == 1 for splits in by_group.values())
    counts = Counter((row["family"], row["split"]) for row in table)
    for family in fish_shards.card["families"]:
        train, val = counts[family, "train"], counts[family, "val"]
        assert val <= 0.15 * (train + val) + 1
        assert train or not val
        assert val or train < 8 or len({row["group"] for row in table if row["family"] == family}) == 1


def test_the_raw_order_differs_by_source_and_the_card_counts_it(fish_lab, tmp_path, pack_fish):
    manifest, _ = pack_fish(fish_lab, tmp_path / "raw", source=fish.FishSource(order_column="Order"))
    assert {"Eupercaria/misc", "Perciformes"} <= set(manifest.card["orders"])
    assert manifest.card["families_of_several_orders"] >= 2


def test_packing_is_the_same_twice_and_resumes(fish_lab, fish_shards, tmp_path, pack_fish, unseal):
    out = tmp_path / "again"
    unseal(pack_fish(fish_lab, out)[0])  # as the fixture is
    for path in sorted(Path(fish_shards.root).iterdir()):
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert len(pack_fish(fish_lab, out)[0]) == len(fish_shards)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(ValueError, match="other files or settings"):
        pack_fish(fish_lab, out, seed=3)
    with pytest.raises(ValueError, match="other files or settings"):
        pack_fish(fish_lab, out, source=fish.FishSource(order_column="Order"))


def test_units_mix_families_and_know_their_files(fish_lab, monkeypatch):
    monkeypatch.setattr(fish, "RUN", 40)
    units, _ = fish.scan(fish_lab / "images", fish_lab / "anns", fish.FishSource())
    assert [unit.size() for unit in units] == [40, 40, 40, 33]  # 150 and the three that do not decode
    assert all({name for name, *_ in TAXA[:3]} <= set(unit.rows["family"].to_pylist()) for unit in units)
    again, _ = fish.scan(fish_lab / "images", fish_lab / "anns", fish.FishSource())
    assert [unit.fingerprint() for unit in again] == [unit.fingerprint() for unit in units]
    assert len({unit.fingerprint() for unit in units}) == 4


def test_nothing_that_fits_gives_no_units(lab):
    folder = lab(files={"A/x.jpg": jpeg(0)}, train=["B/x.jpg"])
    units, faults = fish.scan(folder / "images", folder / "anns", fish.FishSource())
    assert units == []
    assert len(faults) == 2


@pytest.mark.parametrize(
    ("wrong", "part"), [({"order_column": "Orders"}, "NewOrder or Order"), ({"short_side": 7}, "short_side=7")]
)
def test_wrong_settings_are_told(wrong, part):
    with pytest.raises(ValueError, match=part):
        fish.FishSource(**wrong)
