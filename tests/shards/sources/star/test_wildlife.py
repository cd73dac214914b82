"""WildlifeReID-10k: stars stay out unless asked for, splits are the official ones or cut no day and no cluster."""

import io
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tarpon.shards.sources.star import reid, wildlife
from tarpon.shards.sources.star.wildlife import STARS, WildlifeSource

HEADER = "identity,path,dataset,split,species,date,orientation,cluster_id"


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 10, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def lab(root: Path, rows: list[tuple[str, ...]], *, header: str = HEADER) -> Path:
    """A folder of one picture a row; rows as the header, the path is made here where it is blank."""
    (root / "images").mkdir(parents=True)
    lines = [header]
    for number, row in enumerate(rows):
        cells = list(row)
        cells[1] = cells[1] or f"images/{number:03d}.jpg"
        (root / cells[1]).write_bytes(picture(number))
        lines.append(",".join(cells))
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def listed(found: reid.ReidScan) -> list[dict]:
    return sorted((row for unit in found.units for row in unit.rows.to_pylist()), key=lambda row: row["source"])


def rows_of(dataset: str, identity: str, splits: str, *, species="tiger", dates=None, clusters=None) -> list[tuple[str, ...]]:
    parts = {"r": "train", "e": "test"}
    return [
        (identity, "", dataset, parts[sign], species, (dates or [""] * 99)[i], "left", (clusters or [""] * 99)[i])
        for i, sign in enumerate(splits)
    ]


SET = (
    rows_of("ATRW", "ATRW_1", "rrrrrre", clusters=list("0011223"))
    + rows_of("ATRW", "ATRW_2", "r")
    + rows_of("ATRW", "ATRW_new", "ee")
    + rows_of(
        "BelugaID", "BelugaID_1", "rrrree", species="whale", dates=["2020-01-01"] * 2 + ["2020-01-02"] * 2 + ["2020-02-01"] * 2
    )
    + rows_of(STARS, f"{STARS}_7", "rre", species="sea star")
)


def test_the_official_split_with_roles(tmp_path):
    found = wildlife.scan(lab(tmp_path / "w", SET), WildlifeSource(val_share=0.3))
    rows = listed(found)
    assert {row["identity"] for row in rows} == {"ATRW__1", "ATRW__2", "ATRW__new", "BelugaID__1"}  # one prefix each
    official = ["test" if row[3] == "test" else "train" for row in SET if row[2] != STARS]
    assert ["test" if row["split"] == "test" else "train" for row in rows] == official
    assert {row["identity"] for row in rows if row["distractor"]} == {"ATRW__2"}  # kept, though of one picture
    assert {row["identity"] for row in rows if row["novel"]} == {"ATRW__new"}
    cut = defaultdict(set)
    for row in rows:
        cut[row["group"]].add(row["split"])
    assert all(len(parts) == 1 for parts in cut.values())
    assert sum(row["split"] == "val" for row in rows) == 4  # of 11 training pictures, two days or clusters
    assert rows[0] | {"split": "", "bytes": 0, "mtime_ns": 0} == {
        "source": "images/000.jpg", "group": "ATRW__1|0", "split": "", "identity": "ATRW__1", "dataset": "ATRW",
        "species": "tiger", "date": "", "session": "0", "outing": "images", "orientation": "left", "distractor": False,
        "novel": False, "bytes": 0, "mtime_ns": 0,
    }  # fmt: skip
    assert any("3 pictures of sea stars are left out" in note for note in found.notes)
    assert not found.stars


@pytest.mark.parametrize("options", [{}, {"exclude": ("ATRW",)}, {"exclude": (STARS,)}, {"include": ("ATRW", "BelugaID")}])
def test_no_list_of_data_sets_brings_the_stars_back(tmp_path, options):
    found = wildlife.scan(lab(tmp_path / "w", SET), WildlifeSource(**options))
    assert not found.stars
    assert STARS not in {row["dataset"] for row in listed(found)}


def test_the_stars_come_on_request_and_are_told(tmp_path):
    found = wildlife.scan(lab(tmp_path / "w", SET), WildlifeSource(keep_seastar=True))
    assert found.stars
    assert STARS in {row["dataset"] for row in listed(found)}
    renamed = [(*row[:2], "Reef", *row[3:]) for row in SET if row[2] == STARS]
    assert listed(wildlife.scan(lab(tmp_path / "r", renamed), WildlifeSource())) == []  # by species too


def test_recommended_goes_by_data_set(tmp_path):
    found = wildlife.scan(
        lab(tmp_path / "w", SET + rows_of("Other", "Other_1", "rrre")), WildlifeSource(split_strategy="recommended")
    )
    rows = listed(found)
    beluga = [row["split"] for row in rows if row["dataset"] == "BelugaID"]
    assert beluga[4:] == ["test", "test"]  # the latest day
    tiger = [row["split"] == "test" for row in rows if row["identity"] == "ATRW__1"]
    assert sum(tiger) in (1, 2)  # one cluster of two, or the one of one picture
    assert [row["split"] for row in rows if row["dataset"] == "Other"] == ["train", "train", "train", "test"]


def test_a_day_that_cannot_be_read_still_holds_pictures_together(tmp_path):
    rows = rows_of("D", "x", "rrrrr", dates=["summer"] * 4 + ["2020-01-01"])
    found = listed(wildlife.scan(lab(tmp_path / "w", rows), WildlifeSource(split_strategy="random")))
    assert {row["session"] for row in found} == {"summer", "2020-01-01"}
    assert {row["date"] for row in found} == {"", "2020-01-01"}
    assert len({row["split"] for row in found if row["session"] == "summer"}) == 1


def test_what_a_rule_cannot_split_is_told(tmp_path):
    rows = rows_of("D", "x", "rrre") + rows_of("E", "y", "rr", dates=["2020-01-01", "2020-02-02"])
    found = wildlife.scan(lab(tmp_path / "w", rows), WildlifeSource(split_strategy="time_aware"))
    assert any("nothing to test in D" in note for note in found.notes)
    assert [row["split"] == "test" for row in listed(found)] == [False] * 5 + [True]


def test_lines_without_use_are_faults(tmp_path):
    root = lab(tmp_path / "w", [*rows_of("D", "x", "rr"), ("x", "", "D", "query", "", "", "", "")])
    with open(root / "metadata.csv", "a") as file:
        file.write("x,images/lost.jpg,D,train,,,,\n")
    (root / "images/001.jpg").write_bytes((root / "images/000.jpg").read_bytes())
    found = wildlife.scan(root, WildlifeSource())
    assert {fault.file: fault.reason for fault in found.faults} == {
        "images/002.jpg": "split 'query' is not train, val, test",
        "images/lost.jpg": "a row without an image",
        "images/001.jpg": "the same picture as another one of this identity",
    }


def test_mistakes_are_refused(tmp_path):
    root = lab(tmp_path / "w", SET)
    with pytest.raises(ValueError, match=r"no data set Zebra in metadata\.csv; it has ATRW, BelugaID"):
        wildlife.scan(root, WildlifeSource(exclude=("Zebra",)))
    with pytest.raises(ValueError, match="split_strategy='best' must be one of original"):
        WildlifeSource(split_strategy="best")
    with pytest.raises(ValueError, match="--keep_seastar"):
        WildlifeSource(include=(STARS,))
    with pytest.raises(ValueError, match="no column dataset, split"):
        wildlife.scan(lab(tmp_path / "v", [("a", "")], header="identity,path"), WildlifeSource())
    with pytest.raises(ValueError, match="rename one"):
        wildlife.scan(lab(tmp_path / "u", rows_of("D", "D_1", "r") + rows_of("D", "1", "r")), WildlifeSource())
