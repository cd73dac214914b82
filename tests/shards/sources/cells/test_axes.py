"""Channels, depths, positions and pixels of every kind become pages by rule; what the file does not say is never guessed."""

import logging
import re

import numpy as np
import pytest
import tifffile

from tarpon.shards.sources.cells.pages import PageChoice, StackShape, read_pages, read_positions, read_shape

RNG = np.random.default_rng(1)
HYPER = RNG.integers(0, 4096, (3, 2, 4, 20, 16), dtype=np.uint16)  # T, Z, C, Y, X
GREY = RNG.integers(0, 65536, (5, 20, 16), dtype=np.uint16)


def saved(path, pixels, **options):
    tifffile.imwrite(path, pixels, **({"photometric": "minisblack"} | options))
    return path


def pages(path, *, position: int = 0, notes: list | None = None, **choice) -> np.ndarray:
    tell = (lambda line: None) if notes is None else notes.append
    return np.stack(list(read_pages(path, choice=PageChoice(**choice), position=position, tell=tell)))


@pytest.fixture(params=["imagej", "ome"])
def hyper(request, tmp_path):
    names = {"Channel": {"Name": ["phase", "gfp", "rfp", "dapi"]}} if request.param == "ome" else {}
    return saved(tmp_path / "a.tif", HYPER, **{request.param: True}, metadata={"axes": "TZCYX", **names})


def test_a_hyperstack_gives_the_channel_and_projection_that_are_asked_for(hyper):
    assert np.array_equal(pages(hyper, channel="3", project="max"), HYPER[:, :, 2].max(1))
    mean = np.rint(HYPER[:, :, 0].astype(float).mean(1)).astype(np.uint16)
    assert np.array_equal(pages(hyper, channel="1", project="mean"), mean)
    assert read_shape(hyper, choice=PageChoice(channel="4", project="focus")) == StackShape(
        pages=3, height=20, width=16, channels=1, bits=16
    )


@pytest.mark.parametrize(("choice", "said"), [
    ({}, r"4 channels of one moment \(.*\); choose one with --channel"),
    ({"channel": "5", "project": "max"}, "no channel 5; there are "),
    ({"channel": "2"}, "2 depths of one moment; give --project max, mean or focus"),
])  # fmt: skip
def test_what_must_be_chosen_is_asked(hyper, choice, said):
    with pytest.raises(ValueError, match=said):
        read_shape(hyper, choice=PageChoice(**choice))


def test_a_channel_is_known_by_its_name(tmp_path):
    names = {"axes": "TCYX", "Channel": {"Name": ["phase", "gfp"]}}
    path = saved(tmp_path / "a.tif", HYPER[:, 0, :2], ome=True, metadata=names)
    assert np.array_equal(pages(path, channel="gfp"), HYPER[:, 0, 1])
    with pytest.raises(ValueError, match="2 channels of one moment \\(phase, gfp\\)"):
        read_shape(path)


def test_a_stack_saved_with_its_one_channel_is_taken_whatever_channel_is_asked_for(tmp_path):
    assert np.array_equal(pages(saved(tmp_path / "a.tif", GREY), channel="gfp"), GREY)


def test_the_sharpest_depth_is_in_focus(tmp_path):
    sharp = np.kron(RNG.integers(0, 2, (10, 8)) * 3000, np.ones((2, 2))).astype(np.uint16)
    blurred = ((sharp + np.roll(sharp, 1, 0) + np.roll(sharp, 1, 1) + np.roll(sharp, 2, 0)) // 4).astype(np.uint16) * 2
    stack = np.stack([[blurred, sharp], [sharp, blurred]])
    path = saved(tmp_path / "a.tif", stack, ome=True, metadata={"axes": "TZYX"})
    assert np.array_equal(pages(path, project="focus"), [sharp, sharp])


def test_imagej_slices_are_time_points_with_a_note_unless_it_has_frames(tmp_path):
    notes = []
    assert np.array_equal(pages(saved(tmp_path / "a.tif", GREY, imagej=True, metadata={"axes": "ZYX"}), notes=notes), GREY)
    assert notes == ["ImageJ tells its 5 pages as slices; they are taken for time points"]
    notes = []
    pages(saved(tmp_path / "b.tif", GREY, imagej=True, metadata={"axes": "TYX"}), notes=notes)
    assert notes == []


@pytest.mark.parametrize(("pixels", "values", "levels", "note"), [
    (GREY.astype(np.float32), None, GREY, "all whole numbers up to 6"),
    ((GREY // 3).astype(np.int32), None, GREY // 3, "pixels are int32, all whole numbers"),
    (GREY / 65535, None, GREY, "within 0 to 1: multiplied by 65535"),
    ((GREY.astype(int) - 32768).astype(np.int16), (-32768, 32767), GREY, "-32768 to 32767 became 0 to 65535, as asked"),
    (np.float32([[[0.0, 50.0], [100.0, 900.0]]] * 2), (0, 100), np.uint16([[[0, 32768], [65535, 65535]]] * 2), "0 to 100"),
])  # fmt: skip
def test_signed_and_floating_point_pixels_become_16_bits_by_rule(pixels, values, levels, note, tmp_path):
    notes, path = [], saved(tmp_path / "a.tif", pixels)
    found = pages(path, values=values, notes=notes)
    assert found.dtype == np.uint16
    assert np.array_equal(found, levels)
    assert read_shape(path).bits == 16
    assert note in notes[0]


@pytest.mark.parametrize(("pixels", "said"), [
    (GREY.astype(np.float32) - 9000, r"pixels are float32 from -\d+ to \d+; give the range .* --values LOW,HIGH"),
    ((GREY // 3).astype(np.int16) - 20000, "pixels are int16 from -"),
    (np.where(GREY > 65000, np.nan, GREY), "no finite number"),
])  # fmt: skip
def test_values_that_the_rule_has_no_place_for_are_named(pixels, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        pages(saved(tmp_path / "a.tif", pixels))


def test_palettes(tmp_path):
    index = RNG.integers(0, 256, (3, 20, 16), dtype=np.uint8)
    ramp = np.arange(256, dtype=np.uint16)
    grey, green = np.stack([65535 - 257 * ramp] * 3), np.stack([0 * ramp, 257 * ramp, 0 * ramp])
    mixed = np.stack([257 * ramp, 65535 - 257 * ramp, 0 * ramp])

    def of(name, colours):
        return saved(tmp_path / name, index, photometric="palette", colormap=colours, metadata=None)

    assert np.array_equal(pages(of("grey.tif", grey)), 255 - index)  # white is 0 there: the palette says so
    assert np.array_equal(pages(of("green.tif", green)), index)  # only colours what is measured
    with pytest.raises(ValueError, match="colours by a palette that is neither grey nor a ramp"):
        read_shape(of("mixed.tif", mixed))


def test_alpha_is_left_out_and_further_samples_are_channels(tmp_path):
    rgba = RNG.integers(0, 256, (3, 20, 16, 4), dtype=np.uint8)
    path = saved(tmp_path / "rgba.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(pages(path), rgba[..., :3])
    path = saved(tmp_path / "la.tif", rgba[..., :2], planarconfig="contig", extrasamples=["unassalpha"])
    assert np.array_equal(pages(path), rgba[..., 0])
    five = RNG.integers(0, 256, (3, 20, 16, 5), dtype=np.uint8)
    path = saved(tmp_path / "five.tif", five, planarconfig="contig")
    assert np.array_equal(pages(path, channel="5"), five[..., 4])


def test_positions_of_one_file_are_stacks_of_their_own(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as file:
        for number in range(3):
            file.write(GREY + number, photometric="minisblack", metadata={"axes": "TYX", "Name": f"Pos{number}"})
    assert [position.name for position in read_positions(path)] == ["Pos0", "Pos1", "Pos2"]
    for number in range(3):
        assert np.array_equal(pages(path, position=number), GREY + number)
    with pytest.raises(ValueError, match="3 positions in one file"):
        read_shape(path)


def pieces(path, shapes, **options):
    with tifffile.TiffWriter(path) as file:
        for page in shapes:
            file.write(page, contiguous=False, photometric="minisblack", **options)
    return path


def test_pages_written_one_by_one_are_one_stack(tmp_path):
    assert np.array_equal(pages(pieces(tmp_path / "a.tif", GREY)), GREY)
    path = tmp_path / "b.tif"
    with tifffile.TiffWriter(path) as file:  # one page not compressed
        for number, page in enumerate(GREY):
            how = {"compression": None if number == 2 else "lzw", "metadata": None}
            file.write(page, contiguous=False, photometric="minisblack", **how)
    assert np.array_equal(pages(path), GREY)


@pytest.mark.parametrize(("content", "said"), [
    (b"II*\0\x08\0\0\0", "a header without a page"),
    (b"II*\0\0\0\0\0", "a header without a page"),
    (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "a header without a page"),
])  # fmt: skip
def test_a_file_of_a_header_alone_says_so(content, said, tmp_path, caplog, capfd):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match=said):
        read_shape(path)
    assert not caplog.records
    assert capfd.readouterr().err == ""


def test_the_reason_is_the_right_one(tmp_path):
    with pytest.raises(ValueError, match=r"pages of different depth \(uint16, uint8\)"):
        read_shape(pieces(tmp_path / "a.tif", [GREY[0], (GREY[1] >> 8).astype(np.uint8), GREY[2]], metadata=None))
    path = pieces(tmp_path / "b.tif", GREY, metadata=None)
    with tifffile.TiffFile(path) as tif:
        place = tif.pages[3].tags["StripOffsets"].valueoffset
    content = bytearray(path.read_bytes())
    content[place : place + 4] = (10**9).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="page 3 does not read"):
        pages(path)
    with tifffile.TiffWriter(tmp_path / "c.tif") as file:
        for _ in range(2):
            file.write(GREY, photometric="minisblack")
    with pytest.raises(ValueError, match="2 stacks in one file, and nothing tells their places"):
        read_shape(tmp_path / "c.tif")


def test_a_small_page_beside_a_stack_is_a_thumbnail_with_a_note(tmp_path):
    notes, path = [], tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(GREY, photometric="minisblack")
        file.write(GREY[0, ::4, ::4], photometric="minisblack")
    assert np.array_equal(pages(path, notes=notes), GREY)
    assert notes == ["a single page of 4 x 5 pixels was left out as a thumbnail"]


def test_pages_out_of_order_by_their_own_stamps_are_noted(tmp_path):
    path = saved(tmp_path / "a.ome.tif", GREY, metadata={
        "axes": "TYX", "Plane": {"DeltaT": [0.0, 60.0, 180.0, 120.0, 240.0], "DeltaTUnit": ["s"] * 5, "TheT": list(range(5))},
    })  # fmt: skip
    notes = []
    pages(path, notes=notes)
    (line,) = notes
    assert line.startswith("page 3 is older than the page before it")
    clocks = ["2026:01:01 10:00:00", "2026:01:01 10:30:00", "2026:01:01 10:20:00"]
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        for page, clock in zip(GREY, clocks, strict=False):
            file.write(page, contiguous=False, photometric="minisblack", metadata=None, datetime=clock)
    notes = []
    pages(tmp_path / "b.tif", notes=notes)
    assert re.match("page 2 is older", notes[0])


def test_even_stamps_tell_the_time_that_the_header_does_not(tmp_path):
    def told(stamps: list[float], **more) -> float:
        planes = {"DeltaT": stamps, "DeltaTUnit": ["s"] * 5, "TheT": list(range(5))}
        return read_shape(saved(tmp_path / "a.ome.tif", GREY, metadata={"axes": "TYX", "Plane": planes} | more)).interval

    assert told([3.0, 602.0, 1203.0, 1803.0, 2403.0]) == pytest.approx(600)
    assert told([3.0, 602.0, 1203.0, 1803.0, 2403.0], TimeIncrement=601.5, TimeIncrementUnit="s") == pytest.approx(601.5)
    assert told([0.0, 60.0, 180.0, 120.0, 240.0]) == 0


def test_the_size_of_a_pixel_is_read_in_micrometres(tmp_path):
    told = {"axes": "TYX", "PhysicalSizeX": 650.0, "PhysicalSizeXUnit": "nm"}
    assert read_shape(saved(tmp_path / "a.ome.tif", GREY, metadata=told)).pixel_um == pytest.approx(0.65)
    path = saved(tmp_path / "b.tif", GREY, imagej=True, resolution=(4, 4), metadata={"axes": "TYX", "unit": "um"})
    assert read_shape(path).pixel_um == pytest.approx(0.25)
    assert read_shape(saved(tmp_path / "c.tif", GREY, resolution=(300, 300), resolutionunit="inch")).pixel_um == 0
