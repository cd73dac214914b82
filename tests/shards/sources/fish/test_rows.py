"""Annotations as they are written: what is missing stays missing, what is wrong is told with its line."""

import csv
from pathlib import Path

import pytest

from tarpon.shards.sources.fish.rows import HABITATS, read_rows

URL = "https://www.fishbase.se/images/species/"
COLUMNS = ("", "species", "image", "SpecCode", "Genus", "Order", "Folder", "Troph", "FeedingPath", *HABITATS, "NewOrder")


def row(**change) -> dict:
    flags = dict.fromkeys(HABITATS, "0") | {"Polar": "1"}
    names = {"Genus": "Perca", "Folder": "Percidae", "Order": "Perciformes", "NewOrder": "Perciformes/Percoidei"}
    whole = {"image": "a.jpg", "Troph": "3.5", "FeedingPath": "benthic", **names, **flags}
    return dict.fromkeys(COLUMNS, "") | whole | change


def blank(**change) -> dict:
    return row(Troph="", FeedingPath="", **dict.fromkeys(HABITATS, "")) | change


def write(folder: Path, train: list[dict], test: list[dict] = (), *, columns=COLUMNS) -> Path:
    for name, rows in (("train", train), ("test", test)):
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, columns, extrasaction="ignore")
            table.writeheader()
            table.writerows(rows)
    return folder


def read(folder: Path, order_column: str = "NewOrder") -> list[dict]:
    table, faults = read_rows(folder, order_column=order_column)
    assert faults == []
    return table.to_pylist()


def test_a_full_row(tmp_path):
    write(tmp_path, [row(species="Perca fluviatilis", image=URL + "Peflu_u0.jpg")], [row()])
    first, second = read(tmp_path)
    assert first == {
        "source": "Percidae/Peflu_u0.jpg", "split": "train", "line": 2, "fault": "", "family": "Percidae",
        "order": "Perciformes", "species": "Perca fluviatilis", "genus": "Perca", "troph": 3.5, "feeding": "benthic",
        "habitat": [0, 0, 0, 0, 1, 0, 0, 0],
    }  # fmt: skip
    assert (second["source"], second["split"], second["line"]) == ("Percidae/a.jpg", "test", 2)
    assert second["species"] is None


def test_missing_attributes_are_null_and_zeros_are_zeros(tmp_path):
    write(tmp_path, [blank(Genus=""), row(Polar="0")])
    missing, present = read(tmp_path)
    assert [missing[name] for name in ("troph", "feeding", "habitat", "genus", "fault")] == [None, None, None, None, ""]
    assert present["habitat"] == [0] * 8


@pytest.mark.parametrize(("text", "canonical"), [
    ("Perciformes/Percoidei", "Perciformes"),
    ("Perciformes", "Perciformes"),
    ("Eupercaria/misc/more", "Eupercaria"),
    (" Ovalentaria /x", "Ovalentaria"),
    ("", None),
    ("/x", None),
])  # fmt: skip
def test_the_harmonised_order_ends_at_the_first_slash(tmp_path, text, canonical):
    write(tmp_path, [row(NewOrder=text, Order="Eupercaria/misc")])
    assert read(tmp_path)[0]["order"] == canonical
    assert read(tmp_path, "Order")[0]["order"] == "Eupercaria/misc"


@pytest.mark.parametrize(("wrong", "told"), [
    ({"Troph": ""}, "some attributes are blank"),
    ({"FeedingPath": ""}, "some attributes are blank"),
    ({"brackish": ""}, "some attributes are blank"),
    ({"Troph": "high"}, "Troph is not a number"),
    ({"Troph": "nan"}, "Troph is not a number"),
    ({"Tropical": "2"}, "neither 0 nor 1"),
    ({"Tropical": "yes"}, "neither 0 nor 1"),
])  # fmt: skip
def test_a_wrong_row_is_told_and_gives_no_labels(tmp_path, wrong, told):
    write(tmp_path, [row(), row(**wrong)])
    sound, broken = read(tmp_path)
    assert sound["fault"] == ""
    assert told in broken["fault"]
    assert (broken["troph"], broken["habitat"]) == (None, None)


def test_numbers_as_other_programs_write_them(tmp_path):
    write(tmp_path, [row(Tropical="1.0", Boreal="0.0", Troph=" 3.50 ", FeedingPath=" pelagic")])
    (found,) = read(tmp_path)
    assert (found["fault"], found["troph"], found["feeding"], found["habitat"]) == (
        "",
        3.5,
        "pelagic",
        [1, 0, 0, 0, 1, 0, 0, 0],
    )


def test_a_line_of_other_length_is_a_fault_and_later_lines_keep_their_numbers(tmp_path):
    write(tmp_path, [row(), row(image="b.jpg"), row(image="c.jpg")])
    lines = (tmp_path / "train.csv").read_text().splitlines()
    (tmp_path / "train.csv").write_text("\n".join([lines[0], lines[1], "1,2,3", lines[2], lines[3] + ",more"]) + "\n")
    table, faults = read_rows(tmp_path, order_column="NewOrder")
    assert [(fault.file, fault.row) for fault in faults] == [("train.csv", 3), ("train.csv", 5)]
    assert table.select(["source", "line"]).to_pylist() == [
        {"source": "Percidae/a.jpg", "line": 2}, {"source": "Percidae/b.jpg", "line": 4}
    ]  # fmt: skip


def test_a_byte_order_mark_and_no_rows(tmp_path):
    write(tmp_path, [row()])
    content = (tmp_path / "train.csv").read_bytes()
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbf" + content)
    assert len(read(tmp_path)) == 1
    write(tmp_path, [])
    assert read(tmp_path) == []


def test_missing_files_and_columns_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"train\.csv: no such file"):
        read(tmp_path)
    write(tmp_path, [row()], columns=[name for name in COLUMNS if name not in ("Troph", "NewOrder")])
    with pytest.raises(ValueError, match="no column Troph, NewOrder; it has"):
        read(tmp_path)
    write(tmp_path, [row()])
    (tmp_path / "test.csv").write_bytes((tmp_path / "train.csv").read_bytes().replace(b"Perca", b"Perc\xe9"))
    with pytest.raises(ValueError, match="UTF-8"):
        read(tmp_path)
