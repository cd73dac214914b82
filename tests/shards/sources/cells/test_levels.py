"""The range of a stack's beginning: its first page, unless that is black, flashed or otherwise unlike those after it."""

import numpy as np
import pytest
import tifffile

from tarpon.shards.sources.cells.levels import choose_first_range, find_depth, find_range
from tarpon.shards.sources.cells.source import CellsSource, make, scan


@pytest.mark.parametrize(("ranges", "chosen"), [
    ([(100, 900)] * 5, (100, 900)),
    ([(110, 905), (100, 900), (90, 880), (100, 900), (100, 900)], (110, 905)),  # the first page, not a mean
    ([(0, 0), (100, 900), (120, 910)], (100, 900)),  # black
    ([(0, 12), (100, 900), (120, 910)], (100, 900)),  # black with noise
    ([(900, 65535), (100, 900), (120, 910)], (100, 900)),  # a flash
    ([(0, 0), (0, 0), (100, 900)], (100, 900)),
    ([(100, 900)], (100, 900)),
    ([(7, 7), (8, 8)], (1, 2)),  # nothing to choose from: the whole stack's
    ([], (1, 2)),
])  # fmt: skip
def test_the_first_usable_page(ranges, chosen):
    assert choose_first_range(ranges, otherwise=(1, 2)) == chosen


def test_a_black_first_page_leaves_the_range_of_the_first_picture(tmp_path):
    rng = np.random.default_rng(0)
    for folder, well in (("infected", "b2"), ("uninfected", "c2")):
        (tmp_path / folder).mkdir()
        pages = rng.integers(1000, 5000, (6, 32, 32), dtype=np.uint16)
        pages[0] = 0  # a dropped page
        pages[4:] *= 10  # what comes late must not count
        tifffile.imwrite(tmp_path / folder / f"x_{well}_p1.tif", pages, photometric="minisblack", metadata=None)
    units, _ = scan(tmp_path / "infected", tmp_path / "uninfected", CellsSource())
    made = list(make(units[0]))
    assert made[0].reason == "every pixel of the page has one value"
    source = tifffile.imread(units[0].path)
    assert (made[1].row["first_low"], made[1].row["first_high"]) == find_range(source[1], bits=16)
    assert made[1].row["high"] > 40000


def test_a_camera_s_bits():
    found = [find_depth(greatest) for greatest in (0, 255, 256, 1023, 1024, 4095, 4096, 16383, 16384, 65535)]
    assert found == [8, 8, 10, 10, 12, 12, 14, 14, 16, 16]
