"""Files of microscope makers (LIF, CZI, ND2), written here where their readers are installed: pixels, places, times, names."""

import logging
import struct
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from tarpon.shards.sources.cells import vendor
from tarpon.shards.sources.cells.names import NAME, WellPosition, compile_pattern, read_series_name
from tarpon.shards.sources.cells.pages import PageChoice, read_pages, read_positions
from tarpon.shards.sources.cells.stack import distinguish_channels
from tarpon.shards.sources.cells.units import list_units
from tarpon.shards.sources.cells.vendor_times import pick_stamps, read_czi_interval

PIXELS = np.random.default_rng(5).integers(0, 4096, (3, 2, 2, 20, 30), dtype=np.uint16)  # time, channel, depth, y, x
LETTERS = {"X": 1, "Y": 2, "Z": 3, "T": 4, "λ": 5, "M": 10}  # Leica's numbers of axes


def save_lif(path: Path, *images: tuple[str, np.ndarray, str], luts: tuple[str, ...] = ("Green", "Gray")) -> Path:
    """A project of images (name, pixels, axes), laid out as LAS X does: a block of XML, then a block of pixels an image."""
    elements, blocks = "", b""
    for number, (name, pixels, axes) in enumerate(images):
        strides = dict(zip(axes, pixels.strides, strict=True))
        length = dict(zip(axes, pixels.shape, strict=True))
        whole = {"X": (length.get("X", 1) - 1) * 0.5e-6, "T": (length.get("T", 1) - 1) * 1800.0}
        dimensions = "".join(
            f'<DimensionDescription DimID="{LETTERS[axis]}" NumberOfElements="{length[axis]}" Origin="0" '
            f'Length="{whole.get(axis, 1e-6)}" Unit="{"s" if axis == "T" else "m"}" BitInc="0" BytesInc="{strides[axis]}"/>'
            for axis in sorted(axes.replace("C", ""), key=lambda axis: strides[axis])
        )
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{pixels.itemsize * 8}" NameOfMeasuredQuantity="" '
            f'Min="0" Max="1" Unit="" LUTName="{luts[place]}" IsLUTInverted="0" '
            f'BytesInc="{place * strides.get("C", 0)}" BitInc="0"/>'
            for place in range(length.get("C", 1))
        )
        elements += (
            f'<Element Name="{name}" UniqueID="{number}"><Data><Image><ImageDescription><Channels>{channels}</Channels>'
            f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{pixels.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>'
        )
        block = f"MemBlock_{number}"
        blocks += struct.pack("<IIBQBI", 0x70, 2 * len(block) + 14, 0x2A, pixels.nbytes, 0x2A, len(block))
        blocks += block.encode("utf-16-le") + pixels.tobytes()
    xml = f'<Element Name="p" UniqueID="p"><Children>{elements}</Children></Element>'
    xml = f'<LMSDataContainerHeader Version="2">{xml}</LMSDataContainerHeader>'
    header = struct.pack("<IIBI", 0x70, 2 * len(xml) + 5, 0x2A, len(xml)) + xml.encode("utf-16-le")
    path.write_bytes(header + blocks)
    return path


def read(path: Path, choice: PageChoice, position: int = 0) -> np.ndarray:
    return np.stack(list(read_pages(path, choice=choice, position=position)))


def test_a_lif_file_tells_pixels_time_and_channels(tmp_path):
    pytest.importorskip("liffile")
    path = save_lif(tmp_path / "x_b2_p1.lif", ("Series001", np.moveaxis(PIXELS, 1, 2).copy(), "TZCYX"))
    choice = PageChoice(channel="Gray", project="max")
    (position,) = read_positions(path, choice=choice)
    shape = position.shape
    assert (shape.pages, shape.height, shape.width, shape.bits) == (3, 20, 30, 16)
    assert (shape.interval, shape.pixel_um) == (pytest.approx(1800), pytest.approx(0.5))
    assert np.array_equal(read(path, choice), PIXELS[:, 1].max(1))
    with pytest.raises(ValueError, match=r"2 channels of one moment \(Green, Gray\)"):
        read_positions(path)


def test_channels_of_one_name_are_told_apart_by_their_number(tmp_path):
    assert distinguish_channels(["Gray", "Red", "Gray"], 3) == ("Gray 1", "Red", "Gray 3")
    assert distinguish_channels(["Gray"], 2) == ("", "")
    pytest.importorskip("liffile")
    path = save_lif(tmp_path / "a.lif", ("s", PIXELS[:, :, 0].copy(), "TCYX"), luts=("Gray", "Gray"))
    for asked in ("Gray 2", "2"):
        assert np.array_equal(read(path, PageChoice(channel=asked)), PIXELS[:, 1, 0])
    with pytest.raises(ValueError, match="no channel Gray; there are Gray 1, Gray 2"):
        read_positions(path, choice=PageChoice(channel="Gray"))


def test_an_image_of_a_project_that_is_not_read_spoils_no_other(tmp_path):
    pytest.importorskip("liffile")
    grey = PIXELS[:, 0, 0].copy()
    images = [("xz", grey, "TZX"), ("_c3_p7", grey, "TYX"), ("sweep", grey, "λYX"), ("_c3_p8", PIXELS[:, :, 0].copy(), "TCYX")]
    path = save_lif(tmp_path / "project.lif", *images)
    units, faults = list_units(tmp_path, name_of=str, pattern=compile_pattern(NAME), choice=PageChoice(), max_pixels=10**6)
    assert [(unit.source, unit.place.stack, unit.series) for unit in units] == [("project.lif position 2", "c3_p7", 1)]
    assert np.array_equal(np.stack([page for _, page in units[0].read(print)]), grey)
    assert {fault.file.split()[-1]: fault.reason.split(";")[0] for fault in faults} == {
        "1": "its planes lie along Z and X",
        "3": "planes along λ",
        "4": "2 channels of one moment (Green, Gray)",
    }
    save_lif(path, images[0])
    with pytest.raises(ValueError, match="along Z and X"):
        read_positions(path)


def test_tiles_of_a_mosaic_are_stacks_each_and_say_so(tmp_path):
    pytest.importorskip("liffile")
    path = save_lif(tmp_path / "x_b2.lif", ("s", PIXELS[:, :, 0].copy(), "TMYX"))
    assert [position.name for position in read_positions(path)] == ["s tile 1", "s tile 2"]
    lines: list[str] = []
    pages = np.stack(list(read_pages(path, position=1, tell=lines.append)))
    assert np.array_equal(pages, PIXELS[:, 1, 0])
    assert lines == ["tile 2 of 2 of a mosaic; neighbours may show the same cells"]


def save_czi(path: Path) -> Path:
    """Two overlapping tiles, three times."""
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as file:
        for time in range(3):
            for tile in range(2):
                plane = {"T": time, "C": 0, "Z": 0}
                file.write(data=PIXELS[time, tile, 0][..., None], plane=plane, location=(25 * tile, 0))
        file.write_metadata(document_name="a", channel_names={0: "phase"}, scale_x=0.65e-6, scale_y=0.65e-6)
    return path


def test_tiles_of_a_czi_file_are_not_taken_for_one(tmp_path, capfd):
    pytest.importorskip("bioio_czi")
    pytest.importorskip("pylibCZIrw")
    path = save_czi(tmp_path / "x_b2.czi")
    found = read_positions(path)
    assert [(position.name, position.shape.pages, position.shape.width) for position in found] == [
        ("tile 1", 3, 30), ("tile 2", 3, 30),
    ]  # fmt: skip
    for tile in range(2):
        assert np.array_equal(read(path, PageChoice(), position=tile), PIXELS[:, tile, 0])
    assert capfd.readouterr() == ("", "")


def test_the_time_of_a_czi_file_is_that_of_its_list_or_its_step():
    def told(inside: str) -> float:
        path = ["ImageDocument", "Metadata", "Information", "Image", "Dimensions", "T", "Positions"]
        opened, closed = "".join(f"<{tag}>" for tag in path), "".join(f"</{tag}>" for tag in reversed(path))
        return read_czi_interval(ElementTree.fromstring(opened + inside + closed))

    assert told("<Interval><Start>0</Start><Increment>33.412</Increment></Interval>") == pytest.approx(33.412)
    assert told("<List><Offsets>0 60.075 120.15</Offsets></List>") == 60
    assert [told(text) for text in ("", "<List><Offsets/></List>", "<Interval><Increment>x</Increment></Interval>")] == [0] * 3
    assert told("<List><Offsets>0 60 300</Offsets></List>") == 0  # not even


def test_the_stamps_of_an_nd2_file_are_those_of_its_position():
    frames = [
        {"Time [s]": 10.0 * time + 3 * place + depth, "T Index": time, "P Index": place, "Z Index": depth}
        for time in range(3) for place in range(2) for depth in range(2)
    ]  # fmt: skip
    assert pick_stamps(frames, scene=1, times=3) == (3.0, 13.0, 23.0)
    alone = [{key: value for key, value in frame.items() if key != "P Index"} for frame in frames]
    assert pick_stamps(alone, scene=0, times=3) == (0.0, 10.0, 20.0)
    assert pick_stamps(frames, scene=0, times=4) == ()
    assert pick_stamps([frame | {"Time [s]": None} for frame in frames], scene=0, times=3) == ()


@pytest.mark.parametrize(("stem", "series", "well"), [
    ("20250101_plate", "P1-D6", "d6"),
    ("20250101_plate", "D7-D7 tile 2", "d7"),
    ("20250101_b2", "P1-D6", "b2"),  # the file's own name goes first
])  # fmt: skip
def test_a_scene_tells_its_well(stem, series, well):
    assert read_series_name(stem, series, 4, compile_pattern(NAME)) == WellPosition(plate="20250101", well=well, position=4)


@pytest.mark.parametrize("series", ["P1", "TR1", "Image:0", "Series001", "P12-P12"])
def test_a_position_s_number_is_no_well(series):
    with pytest.raises(ValueError, match="holds several positions"):
        read_series_name("plate", series, 1, compile_pattern(NAME))


def test_a_scene_that_its_reader_cannot_describe_spoils_no_other(tmp_path, monkeypatch, capfd):
    """Readers raise kinds of their own, and log tracebacks of metadata that they do without."""

    class Odd(Exception):
        pass

    class Image:
        scenes, current_scene, time_interval, channel_names, dtype = ("a", "b", "c"), "a", None, ["x"], np.dtype(np.uint8)
        physical_pixel_sizes, current_scene_index, dims = SimpleNamespace(X=None), 0, None
        metadata = ElementTree.Element("ImageDocument")

        def set_scene(self, scene: str) -> None:
            logging.getLogger("bioio_czi.reader").error("a traceback")
            if scene == "b":
                raise Odd("Expected 1 distance scale\nbut found 0.")
            self.dims = SimpleNamespace(order="TCHYX", shape=(2, 1, 4 if scene == "c" else 1, 20, 30))

    (tmp_path / "a.czi").write_bytes(b"x")
    monkeypatch.setattr(vendor, "import_module", lambda name: SimpleNamespace(Reader=lambda path: Image()))
    first, second, third = read_positions(tmp_path / "a.czi")
    assert (first.name, first.shape.pages, first.refusal) == ("a", 2, "")
    assert second.refusal == "does not read as .czi (Expected 1 distance scale but found 0.)"
    assert third.refusal == "planes along H; time, channels, depths and tiles are read"
    assert capfd.readouterr() == ("", "")
