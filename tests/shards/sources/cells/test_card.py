"""The card warns where a score would not mean infection, and is silent where only the infection tells the classes."""

import pyarrow as pa
import pytest

from tarpon.shards.sources.cells.card import find_warnings

SOUND = {"split": "train", "bits": 16, "channels": 1, "width": 8, "height": 8, "hours": 1.0, "pixel_um": 0.65}


def rows(*cells: dict) -> pa.Table:
    return pa.Table.from_pylist([SOUND | cell for cell in cells])


def plate(*, group: str, infected: tuple = ("b2", "b3"), uninfected: tuple = ("c2", "c3"), **change) -> list[dict]:
    found = []
    for label, wells in ((1, infected), (0, uninfected)):
        for well in wells:
            for position in (1, 2):
                stack = f"{well}_p{position}"
                found.append(
                    {"label": label, "well": well, "stack": stack, "group": stack if group == "stack" else well} | change
                )
    return found


def test_wells_kept_together_raise_no_warning():
    assert list(find_warnings(rows(*plate(group="well")))) == []


def test_positions_of_one_well_in_several_groups():
    (line,) = find_warnings(rows(*plate(group="stack")))
    assert "no well holds both classes" in line
    assert "(b2, b3, c2, c3)" in line
    assert "--group well" in line


@pytest.mark.parametrize("group", ["stack", "well"])
def test_one_well_a_class(group):
    found = list(find_warnings(rows(*plate(group=group, infected=("b2",), uninfected=("c4",)))))
    assert [line.partition(":")[0] for line in found] == [
        "every uninfected stack is from well c4",
        "every infected stack is from well b2",
    ]
    (line,) = find_warnings(rows(*plate(group=group, infected=("b2",))))
    assert line.startswith("every infected stack is from well b2")


def test_a_well_of_both_classes_tells_nothing():
    assert list(find_warnings(rows(*plate(group="stack", infected=("a1", "a2"), uninfected=("a1", "a2"))))) == []


def test_hours_formats_and_splits_that_tell_the_class():
    cells = plate(group="well")
    (line,) = find_warnings(rows(*cells, cells[0] | {"hours": 0.0}))
    assert "uninfected 1 to 1 h, infected 0 to 1 h" in line
    (line,) = find_warnings(rows(*[cell | {"bits": 8 if cell["label"] else 16} for cell in cells]))
    assert "the file format tells the class" in line
    (line,) = find_warnings(rows(*[cell | {"pixel_um": 0.65 if cell["label"] else 0.32} for cell in cells]))
    assert "the magnification tells the class" in line
    (line,) = find_warnings(rows(*[cell | {"split": "test" if cell["well"] == "b2" else "train"} for cell in cells]))
    assert line.startswith("test holds no uninfected stack")
