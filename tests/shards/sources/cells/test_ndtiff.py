"""Pages of Micro-Manager's NDTiff files go where each of them says."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tarpon.shards.sources.cells.formats import open_stacks
from tarpon.shards.sources.cells.pages import PageChoice, read_pages, read_positions

PIXELS = np.random.default_rng(8).integers(0, 4096, (3, 2, 2, 16, 24), dtype=np.uint16)  # time, position, channel, y, x
ORDER = [(time, place, channel) for time, place, channel in product(range(3), (1, 0), range(2))]


def save(path: Path, order=ORDER, **more) -> Path:
    with tifffile.TiffWriter(path) as file:
        for time, place, channel in order:
            axes = {"time": time, "position": f"Pos{place}", "channel": ("DAPI", "FITC")[channel]} | more
            told = {"Axes": axes, "ElapsedTime-ms": 1.8e6 * time + 20 * channel, "PixelSizeUm": 0.65}
            tag = (51123, "s", 0, json.dumps(told), True)
            file.write(PIXELS[time, place, channel], contiguous=False, photometric="minisblack", metadata=None, extratags=[tag])
    return path


def test_channels_and_positions_are_no_time_points(tmp_path):
    path, choice = save(tmp_path / "run_b2_NDTiffStack.tif"), PageChoice(channel="FITC")
    found = read_positions(path, choice=choice)
    assert [(one.name, one.shape.pages, one.shape.interval, one.shape.pixel_um) for one in found] == [
        ("Pos0", 3, 1800, 0.65), ("Pos1", 3, 1800, 0.65),
    ]  # fmt: skip
    for place in range(2):
        assert np.array_equal(np.stack(list(read_pages(path, choice=choice, position=place))), PIXELS[:, place, 1])
    with pytest.raises(ValueError, match=r"2 channels of one moment \(DAPI, FITC\)"):
        read_positions(path)


@pytest.mark.parametrize("order", [ORDER[1:], ORDER[4:], [*ORDER, ORDER[0]]])
def test_pages_that_are_not_all_there_are_told(order, tmp_path):
    with pytest.raises(ValueError, match=r"of the \d+ pages of its axes \(channel, position, time\): a part of a set"):
        read_positions(save(tmp_path / "a.tif", order), choice=PageChoice(channel="DAPI"))


def test_an_axis_that_no_time_course_has_is_named(tmp_path):
    with pytest.raises(ValueError, match="pages along exposure; time, channels"):
        read_positions(save(tmp_path / "a.tif", exposure=1))


def test_depths_below_the_first_plane_keep_their_order(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number, depth in enumerate((1, -2, 0, -1)):
            tag = (51123, "s", 0, json.dumps({"Axes": {"z": depth}}), True)
            file.write(PIXELS[0, 0, 0] + number, contiguous=False, photometric="minisblack", metadata=None, extratags=[tag])
    with open_stacks(tmp_path / "a.tif") as (stack,):
        assert [int(stack.read(0, 0, depth)[0, 0]) - int(PIXELS[0, 0, 0, 0, 0]) for depth in range(4)] == [1, 3, 2, 0]
