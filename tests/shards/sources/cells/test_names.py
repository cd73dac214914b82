"""Names tell the place; a place or a file that is there twice is not packed twice."""

import pytest

from tarpon.shards.sources.cells.names import (
    NAME,
    WellPosition,
    compile_pattern,
    find_copies,
    find_duplicate_positions,
    read_name,
)

REAL = "20251023hbmvecp510x30minintervalinfectedvsuninfected_s5_b2_p12_t0-94_ec"


def test_the_real_name():
    place = read_name(REAL, compile_pattern(NAME))
    assert place == WellPosition(plate="20251023", well="b2", position=12, first=0, last=94)
    assert (place.stack, place.well_name) == ("20251023_b2_p12", "20251023_b2")


@pytest.mark.parametrize(("name", "place"), [
    ("demo_B02_p7", WellPosition(plate="", well="b02", position=7)),
    ("demo_c4_p3_t10-20", WellPosition(plate="", well="c4", position=3, first=10, last=20)),
    ("20240101_c12_p003_x", WellPosition(plate="20240101", well="c12", position=3)),
])  # fmt: skip
def test_shorter_names(name, place):
    assert read_name(name, compile_pattern(NAME)) == place


@pytest.mark.parametrize("name", ["stack1", "b2p12", "demo_b2_p", "_p12_t0-94", "demo_b2_pos12"])
def test_other_names_are_told(name):
    with pytest.raises(ValueError, match=r"well and position.*data\.name_regex"):
        read_name(name, compile_pattern(NAME))


def test_a_pattern_of_ones_own():
    pattern = compile_pattern(r"(?P<plate>plate\d)-(?P<well>\w\d)-(?P<position>\d+)")
    assert read_name("x-plate3-D4-09", pattern) == WellPosition(plate="plate3", well="d4", position=9)
    with pytest.raises(ValueError, match="has no group position, well"):
        compile_pattern(r"_p(\d+)_")
    with pytest.raises(ValueError, match="no regular expression"):
        compile_pattern("(")


def test_one_place_twice():
    places = [
        WellPosition(plate="", well=well, position=position) for well, position in (("b2", 1), ("c4", 1), ("b2", 1), ("b2", 2))
    ]
    names = list("abcd")
    assert list(find_duplicate_positions(names, places, [1, 0, 1, 1])) == [2]  # the first stays, and c4's position 1 is another
    reasons = find_duplicate_positions(names, places, [1, 0, 0, 1])
    assert list(reasons) == [0, 2]  # of which class it is, is not known
    assert "those of c" in reasons[0]
    assert "those of a" in reasons[2]


def test_one_file_twice(tmp_path):
    contents = {"a": b"x" * 100, "b": b"y" * 100, "c": b"x" * 100, "d": b"x" * 99, "e": b"", "f": b""}
    paths = [tmp_path / name for name in contents]
    for path in paths:
        path.write_bytes(contents[path.name])
    assert find_copies(paths, list(contents), [1] * 6) == {2: "the same file as a", 5: "the same file as e"}
    assert list(find_copies(paths, list(contents), [1, 1, 0, 1, 1, 1])) == [0, 2, 5]
    assert find_copies([], [], []) == {}
