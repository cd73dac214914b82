"""Several channels of a moment become one page, pixel for pixel and in the order asked for, with grey levels of each."""

import json

import numpy as np
import pytest
import tifffile

from tarpon.shards.manifest import open_manifest
from tarpon.shards.page_planes import FURTHER, read_levels
from tarpon.shards.reader import Reader
from tarpon.shards.sources.cells.channels import check_channels, find_channels
from tarpon.shards.sources.cells.pages import PageChoice, decode_tiff, read_pages, read_shape
from tarpon.shards.sources.cells.source import CellsSource

RNG = np.random.default_rng(2)
HYPER = RNG.integers(0, 4096, (3, 2, 4, 20, 16), dtype=np.uint16)  # T, Z, C, Y, X
NAMES = ["phase", "gfp", "rfp", "dapi"]


def save(path, pixels, axes="TCYX", names=("phase", "gfp"), **options):
    path.parent.mkdir(exist_ok=True, parents=True)
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": axes, "Channel": {"Name": list(names)}}, **options)
    return path


def write_lab(folder, *, wells: int = 3, names=("phase", "gfp"), pixels=None):
    """A stack a well, of two channels and two pages unless told."""
    for label, well in ((label, well) for label in ("infected", "uninfected") for well in range(wells)):
        made = RNG.integers(0, 4096, (2, 2, 40, 36), dtype=np.uint16) if pixels is None else pixels(label, well)
        save(folder / label / f"x_{label[0]}{well + 2}_p1.ome.tif", made, names=names)
    return folder


@pytest.mark.parametrize(("asked", "places"), [
    ("phase,gfp", [0, 1]),
    ("gfp, phase", [1, 0]),
    ("4,phase,2", [3, 0, 1]),
    ("rfp", [2]),
])  # fmt: skip
def test_channels_are_found_by_name_or_number_in_order(asked, places):
    assert find_channels(NAMES, asked) == places


def test_a_name_with_a_comma_is_one_channel():
    assert find_channels(["GFP, 488 nm", "phase"], "GFP, 488 nm") == [0]


@pytest.mark.parametrize(("names", "asked", "said"), [
    (NAMES, "phase,yfp", "no channel yfp; there are phase, gfp, rfp, dapi"),
    (NAMES, "phase,5", "no channel 5"),
    (NAMES, "phase,phase", "each once"),
    (NAMES, "phase,", "each once"),
    (NAMES, "phase,1", "one channel twice"),
    ([""], "phase,gfp", r"one channel, and 2 are asked for \(phase,gfp\)"),
    (NAMES, "", "or several by comma"),
])  # fmt: skip
def test_what_a_stack_has_not_got_is_told(names, asked, said):
    with pytest.raises(ValueError, match=said):
        find_channels(names, asked)


@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_a_page_holds_its_channels_one_below_the_other_each_projected(tmp_path, kind):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, HYPER, **{kind: True}, photometric="minisblack", metadata={"axes": "TZCYX"})
    choice = PageChoice(channel="3,1", project="max")
    pages = np.stack(list(read_pages(path, choice=choice)))
    assert np.array_equal(pages, np.concatenate([HYPER[:, :, 2].max(1), HYPER[:, :, 0].max(1)], 1))
    shape = read_shape(path, choice=choice)
    assert (shape.height, shape.width, shape.planes, shape.page) == (20, 16, ("3", "1"), (40, 16))


def test_channels_in_colour_are_not_put_together(tmp_path):
    pixels = RNG.integers(0, 255, (2, 2, 20, 16, 3), dtype=np.uint8)
    path = save(tmp_path / "a.tif", pixels, axes="TCYXS", photometric="rgb")
    with pytest.raises(ValueError, match="in colour"):
        read_shape(path, choice=PageChoice(channel="1,2"))
    assert next(read_pages(path, choice=PageChoice(channel="2"))).shape == (20, 16, 3)


def test_every_channel_is_stored_as_it_was_with_levels_of_its_own(channel_lab, channel_shards):
    reader = Reader(channel_shards)
    levels = {name: read_levels(channel_shards, name) for name in ("low", "high", "first_low", "first_high", "frame_max")}
    for row in range(len(channel_shards)):
        known = channel_shards.table.slice(row, 1).to_pylist()[0]
        stack = tifffile.imread(channel_lab / known["source"])
        assert np.array_equal(decode_tiff(reader.read(row, "tif")), stack[known["page"]].reshape(88, 40))
        assert (known["width"], known["height"], known["channels"], known["bits"]) == (40, 44, 1, 16)
        for channel in range(2):
            low, high = np.quantile(stack[:, channel], (0.001, 0.999), method="inverted_cdf")
            assert (levels["low"][row, channel], levels["high"][row, channel]) == (low, high)
            low, high = np.quantile(stack[0, channel], (0.001, 0.999), method="inverted_cdf")
            assert (levels["first_low"][row, channel], levels["first_high"][row, channel]) == (low, high)
            assert levels["frame_max"][row, channel] == stack[known["page"], channel].max()
        assert json.loads(reader.read(row, "json"))[FURTHER] == known[FURTHER]
    assert channel_shards.card["channels"] == channel_shards.card["settings"]["channels"] == ["phase", "gfp"]


def test_of_one_channel_nothing_further_is_stored(tmp_path, pack_cells, channel_lab):
    """RGB and single channels: neither column, nor entry of the card or of the rows' JSON, that others have."""
    manifest, _ = pack_cells(channel_lab, tmp_path / "shards", source=CellsSource(group="well", channel="gfp"))
    assert FURTHER not in manifest.table.column_names
    assert "channels" not in manifest.card
    assert "channels" not in manifest.card["settings"]
    assert FURTHER not in json.loads(Reader(manifest).read(0, "json"))
    known = manifest.table.slice(0, 1).to_pylist()[0]
    stack = tifffile.imread(channel_lab / known["source"])
    assert np.array_equal(decode_tiff(Reader(manifest).read(0, "tif")), stack[known["page"], 1])


def test_rgb_is_refused_beside_channels_and_packed_as_ever_without(tmp_path, pack_cells):
    colours = {label: RNG.integers(0, 256, (2, 40, 36, 3), dtype=np.uint8) for label in ("infected", "uninfected")}
    for label, pixels in colours.items():
        (tmp_path / "lab" / label).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "lab" / label / f"x_{label[0]}2_p1.tif", pixels, photometric="rgb")
    manifest, faults = pack_cells(tmp_path / "lab", tmp_path / "shards", split=(1, 0, 0))
    assert faults == []
    for row in range(len(manifest)):
        page = colours[manifest.value(row, "source").partition("/")[0]][manifest.value(row, "page")]
        assert np.array_equal(decode_tiff(Reader(manifest).read(row, "tif")), page)
    write_lab(tmp_path / "lab", wells=1, pixels=lambda label, well: RNG.integers(0, 99, (2, 2, 40, 36), dtype=np.uint16))
    for label in ("infected", "uninfected"):
        (tmp_path / "lab" / label / f"x_{label[0]}2_p1.ome.tif").rename(tmp_path / "lab" / label / f"x_{label[0]}3_p1.tif")
    source = CellsSource(channel="1,2")
    manifest, faults = pack_cells(tmp_path / "lab", tmp_path / "both", source=source, split=(1, 0, 0))
    assert {str(fault) for fault in faults} == {
        f"{label}/x_{label[0]}2_p1.tif: one channel, and 2 are asked for (1,2)" for label in ("infected", "uninfected")
    }
    assert len(manifest) == 4


def test_side_resizes_each_channel_by_itself(tmp_path, pack_cells, channel_lab):
    alone = {}
    for channel in ("phase", "gfp", "phase,gfp"):
        source = CellsSource(group="well", channel=channel, side=32)
        manifest, _ = pack_cells(channel_lab, tmp_path / channel, source=source)
        alone[channel] = decode_tiff(Reader(manifest).read(0, "tif"))
    assert np.array_equal(alone["phase,gfp"], np.concatenate([alone["phase"], alone["gfp"]]))


def test_a_page_is_left_out_only_where_every_channel_is_of_one_level(tmp_path, pack_cells):
    def pixels(label: str, well: int) -> np.ndarray:
        made = RNG.integers(1, 4096, (2, 2, 40, 36), dtype=np.uint16)
        made[:, 1] = 0
        made[1, 0] = 7 if (label, well) == ("infected", 0) else made[1, 0]
        return made

    manifest, faults = pack_cells(
        write_lab(tmp_path / "lab", pixels=pixels), tmp_path / "shards", source=CellsSource(channel="1,2")
    )
    (fault,) = faults
    assert (fault.file, fault.row) == ("infected/x_i2_p1.ome.tif", 1)
    assert len(manifest) == 11
    assert set(read_levels(manifest, "high")[:, 1]) == {0}


def test_the_camera_s_bits_are_those_of_the_deepest_channel(tmp_path, pack_cells):
    def pixels(label: str, well: int) -> np.ndarray:
        return RNG.integers(0, [[[[1000]], [[4096]]]], (2, 2, 40, 36)).astype(np.uint16)

    manifest, _ = pack_cells(
        write_lab(tmp_path / "lab", pixels=pixels), tmp_path / "shards", source=CellsSource(channel="phase,gfp")
    )
    assert manifest.card["camera_bits"] == 12


def test_stacks_that_name_the_same_numbers_otherwise_are_warned_of(tmp_path, pack_cells):
    lab = write_lab(tmp_path / "lab")
    save(lab / "infected" / "x_i2_p1.ome.tif", RNG.integers(0, 99, (2, 2, 40, 36), dtype=np.uint16), names=("gfp", "phase"))
    manifest, _ = pack_cells(lab, tmp_path / "shards", source=CellsSource(channel="1,2"))
    (line,) = (line for line in manifest.card["warnings"] if "name their channels" in line)
    assert "1 stacks name their channels gfp, phase (infected/x_i2_p1.ome.tif), the others phase, gfp" in line


def test_copies_are_pages_of_the_same_channels_and_near_ones_look_alike_in_the_first(tmp_path, pack_cells):
    """i3 repeats i2 to the pixel; i4 has the phase of i2 and another gfp."""
    rows, columns = np.mgrid[:40, :36]
    shapes = {well: 2000 + 1500 * np.sin(rows / (2 + well)) * np.cos(columns / (3 + well)) for well in range(6)}

    def pixels(label: str, well: int) -> np.ndarray:
        own = shapes[0 if label == "infected" else 3 + well]
        rng = np.random.default_rng(0 if label == "infected" and well < 2 else 10 + well)
        gfp = rng.integers(0, 4096, (2, 40, 36))
        return np.stack([np.stack([own + page, gfp[page]]) for page in range(2)]).astype(np.uint16)

    manifest, faults = pack_cells(
        write_lab(tmp_path / "lab", pixels=pixels), tmp_path / "shards", source=CellsSource(channel="phase,gfp")
    )
    told = {fault.file: str(fault) for fault in faults}
    assert "have the pixels of infected/x_i2_p1.ome.tif" in told["infected/x_i3_p1.ome.tif"]
    assert "infected/x_i4_p1.ome.tif" in set(manifest.column("source"))
    assert "looks like infected/x_i4_p1.ome.tif" in told["infected/x_i2_p1.ome.tif"]


def test_time_points_in_files_of_their_own_keep_their_channels(tmp_path, pack_cells):
    stacks = {}
    for label in ("infected", "uninfected"):
        stacks[label] = RNG.integers(0, 4096, (2, 2, 40, 36), dtype=np.uint16)
        for page in range(2):
            save(tmp_path / label / f"x_{label[0]}2_p1_t{page:03d}.ome.tif", stacks[label][page], axes="CYX")
    manifest, faults = pack_cells(tmp_path, tmp_path / "shards", source=CellsSource(channel="gfp,phase"), split=(1, 0, 0))
    assert faults == []
    for row in range(4):
        page = stacks[manifest.value(row, "source").partition("/")[0]][manifest.value(row, "page")]
        assert np.array_equal(decode_tiff(Reader(manifest).read(row, "tif")), page[::-1].reshape(80, 36))


@pytest.mark.parametrize(("trained", "given", "fits"), [
    (("phase", "gfp"), ("phase", "gfp"), True),
    (("phase", "gfp"), ("Phase", "GFP"), True),
    (("phase", "gfp"), ("1", "2"), True),  # a number may be that name
    (("phase", "gfp"), ("gfp", "phase"), False),
    (("phase", "gfp"), ("phase", "rfp"), False),
    (("1", "2"), ("2", "1"), False),
    (("phase", "gfp"), ("phase",), False),
    (("",), ("phase", "gfp"), False),
    (("",), ("phase",), True),  # an only channel, saved without the others
    (("gfp",), ("phase",), False),
])  # fmt: skip
def test_weights_are_for_the_channels_they_were_trained_on(trained, given, fits):
    if fits:
        check_channels(trained, given, where="shards")
    else:
        with pytest.raises(ValueError, match=r"^shards: pages of .* and the weights were trained on .*--channel"):
            check_channels(trained, given, where="shards")


def test_a_card_that_tells_of_more_channels_than_the_manifest_is_refused(channel_shards):
    manifest = open_manifest(channel_shards.root)
    manifest.card["channels"] = ["phase", "gfp", "rfp"]
    with pytest.raises(ValueError, match="no levels of 3 channels"):
        read_levels(manifest, "low")
