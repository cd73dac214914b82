"""A plate map tells the class and the hour of infection of every well, beside two folders or for one."""

import re

import numpy as np
import pytest
import tifffile

from tarpon.shards.manifest import open_manifest
from tarpon.shards.sources.cells.names import WellPosition
from tarpon.shards.sources.cells.plate_map import WellEntry, normalise_well, read_plate_map
from tarpon.shards.sources.cells.source import CellsSource, scan
from tarpon.tools import cli
from tarpon.train.tasks.cells.data import page_labels
from tarpon.train.tasks.cells.options import CellsOptions

MAP = "Well,Condition,Onset_Hour,note\nB02,infected,4.5,x\nb3,Infected,,\nC2,mock,,\nC3,control,,\n\n"


@pytest.fixture
def plate(tmp_path):
    """Four wells in one folder, with plate.csv."""
    rng = np.random.default_rng(0)
    for number, well in enumerate(("b2", "b3", "c2", "c3")):
        for position in (1, 2):
            pages = rng.integers(0, 4000, (12, 40, 40), dtype=np.uint16) + number
            path = tmp_path / "stacks" / f"x_{well}_p{position}.tif"
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, pages, photometric="minisblack", metadata=None)
    (tmp_path / "plate.csv").write_text(MAP)
    return tmp_path


def test_the_map_by_hand(plate):
    found = read_plate_map(plate / "plate.csv")
    assert found.find(WellPosition(plate="20260101", well="b2", position=1)) == WellEntry(label=1, onset=4.5)
    assert found.find(WellPosition(plate="", well="b003", position=1)) == WellEntry(label=1, onset=None)
    assert found.find(WellPosition(plate="", well="c2", position=1)) == WellEntry(label=0, onset=None)
    assert found.find(WellPosition(plate="", well="d2", position=1)) is None
    assert [normalise_well(name) for name in ("B02", "b2", " AA010 ", "left")] == ["b2", "b2", "aa10", "left"]


def test_plates_and_semicolons(tmp_path):
    (tmp_path / "m.csv").write_bytes("\ufeffplate;well;condition;onset_hour\nA;b2;infected;1,5\nB;b2;uninfected;\n".encode())
    found = read_plate_map(tmp_path / "m.csv")
    assert found.find(WellPosition(plate="A", well="b2", position=1)) == WellEntry(label=1, onset=1.5)
    assert found.find(WellPosition(plate="B", well="b2", position=1)) == WellEntry(label=0, onset=None)
    assert found.find(WellPosition(plate="C", well="b2", position=1)) is None


@pytest.mark.parametrize(("text", "said"), [
    ("well,state\nb2,infected\n", r"no column condition in its first line \(well, state\)"),
    ("well,condition\nb2,sick\n", r"m\.csv:2: condition='sick' must be infected or uninfected"),
    ("well,condition\nb2,infected\nB02,mock\n", r"m\.csv:3: well B02 is told twice, and differently"),
    ("well,condition,onset_hour\nb2,infected,soon\n", r"m\.csv:2: onset_hour='soon'"),
    ("well,condition,onset_hour\nb2,infected,-1\n", r"onset_hour='-1' must be an hour"),
    ("well,condition\n,infected\n", r"m\.csv:2: no well"),
    ("well,condition\n", "holds no well"),
    ("", "no column well, condition"),
])  # fmt: skip
def test_what_is_wrong_in_a_map_is_named(text, said, tmp_path):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_plate_map(tmp_path / "m.csv")


def test_one_folder_of_stacks_with_a_map(plate, capsys):
    (plate / "cells.yaml").write_text("data: {stacks_dir: stacks, plate_map: plate.csv, split_ratios: [0.5, 0.25, 0.25]}\n")
    words = ["pack", "cells", "--config", f"{plate}/cells.yaml", "--out", f"{plate}/out", "--workers", "1"]
    assert cli.main(words) == 0
    assert "96 pages of 8 stacks packed, 0 in quarantine" in capsys.readouterr().out
    manifest = open_manifest(plate / "out")
    assert cli.main(["lint", f"{plate}/out"]) == 0
    assert (manifest.card["camera_bits"], manifest.card["frames_per_hour"]) == (12, 2)
    label, well, hours = (manifest.column(name) for name in ("label", "well", "hours"))
    assert {(one, int(number)) for one, number in zip(well, label, strict=True)} == {("b2", 1), ("b3", 1), ("c2", 0), ("c3", 0)}
    target = page_labels(manifest, CellsOptions(infection_onset_hour=2.0)).target
    for name, onset in (("b2", 4.5), ("b3", 2.0), ("c2", 0.0)):
        own = well == name
        assert np.allclose(target[own], np.maximum(hours[own] - onset, 0))


def test_a_map_beside_two_folders_must_agree_with_them(plate):
    for folder, wells in (("infected", "b"), ("uninfected", "c")):
        (plate / folder).mkdir()
        for path in (plate / "stacks").glob(f"x_{wells}*"):
            path.rename(plate / folder / path.name)
    (plate / "plate.csv").write_text(MAP.replace("C3,control", "C3,infected").replace("b3,Infected,,\n", ""))
    units, faults = scan(plate / "infected", plate / "uninfected", CellsSource(), plate_map=read_plate_map(plate / "plate.csv"))
    assert {unit.place.well: unit.onset for unit in units} == {"b2": 4.5, "b3": None, "c2": None}
    assert {fault.reason for fault in faults} == {"plate.csv says infected, the folder uninfected; mend one"}


def test_a_well_that_the_map_lacks(plate):
    (plate / "plate.csv").write_text(MAP.replace("b3,Infected,,\n", ""))
    units, faults = scan(plate / "stacks", None, CellsSource(), plate_map=read_plate_map(plate / "plate.csv"))
    assert len(units) == 6
    assert {fault.reason for fault in faults} == {"well b3 is not in plate.csv, which tells the class"}
    with pytest.raises(ValueError, match="needs a plate map"):
        scan(plate / "stacks", None, CellsSource())


@pytest.mark.parametrize(("data", "said"), [
    ("{stacks_dir: stacks}", "data.plate_map is missing"),
    ("{stacks_dir: stacks, infected_dir: x, plate_map: plate.csv}", "data.stacks_dir and data.infected_dir are given"),
    ("{stacks_dir: stacks, plate_map: gone.csv}", "gone.csv: No such file"),
    ("{}", "data.infected_dir is missing.*or data.stacks_dir and data.plate_map"),
])  # fmt: skip
def test_mistakes_of_the_configuration_are_one_line(data, said, plate, capsys):
    (plate / "cells.yaml").write_text(f"data: {data}\n")
    assert cli.main(["pack", "cells", "--config", f"{plate}/cells.yaml", "--out", f"{plate}/out"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert re.search(said, line)
