"""Stacks of several files, several stacks in a file, and formats other than TIFF find their place and their pixels."""

import importlib.util
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tarpon.shards.remote_units import scan_places
from tarpon.shards.scratch import Scratch
from tarpon.shards.sources.cells.formats import find_reader
from tarpon.shards.sources.cells.pages import PageChoice, read_pages, read_positions
from tarpon.shards.sources.cells.record import CELLS
from tarpon.shards.sources.cells.source import CellsSource, make, scan

GREY = np.random.default_rng(2).integers(0, 65536, (6, 40, 30), dtype=np.uint16)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, **({"photometric": "minisblack", "metadata": None} | options))
    return path


def scanned(folder: Path, **options):
    """Units by source, reasons and remarks by file."""
    if not (folder / "uninfected").is_dir():
        save(folder / "uninfected" / "x_c2_p1.tif", GREY[::-1])
    units, faults = scan(folder / "infected", folder / "uninfected", CellsSource(**options))
    return {unit.source: unit for unit in units}, {fault.file: fault for fault in faults}


def rows_of(unit) -> list[dict]:
    return [made.row for made in make(unit) if hasattr(made, "row") and hasattr(made, "key")]


@pytest.mark.parametrize("begin", [0, 1, 7])
def test_files_of_one_time_point_are_one_stack(begin, tmp_path):
    for number in (0, 1, 2, 4):
        save(tmp_path / "infected" / f"x_b2_p1_t{begin + number:03d}.tif", GREY[number])
        save(tmp_path / "infected" / f"x_b2_p2_t{begin + number:03d}.tif", GREY[number] + 1)
    units, faults = scanned(tmp_path)
    assert not faults
    unit = units[f"infected/x_b2_p1_t{begin:03d}.tif"]
    made = list(make(unit))
    assert made[0].reason == "1 time points between the first and the last have no file"
    assert made[0].packed
    start = max(begin - 1, 0) if begin == 1 else begin  # numbers that begin with 1 count from 1
    assert [(one.row["page"], one.row["hours"], one.row["pages"]) for one in made[1:]] == [
        (number, (start + number) / 2, 5) for number in (0, 1, 2, 4)
    ]
    stored = [tifffile.imread(io.BytesIO(one.files["tif"])) for one in made[1:]]
    assert np.array_equal(np.stack(stored), GREY[[0, 1, 2, 4]])


def test_files_of_one_time_point_that_do_not_fit_are_named(tmp_path):
    save(tmp_path / "infected" / "x_b2_p1_t0.tif", GREY[0])
    save(tmp_path / "infected" / "x_b2_p1_t1.tif", GREY[1, :20])
    save(tmp_path / "infected" / "x_b2_p2_t0.tif", GREY[0])
    save(tmp_path / "infected" / "y_b2_p2_t0.tif", GREY[1])
    units, faults = scanned(tmp_path)
    assert list(units) == ["uninfected/x_c2_p1.tif"]
    assert "pages of different shape or depth among the 2 files of b2_p1" in faults["infected/x_b2_p1_t0.tif"].reason
    assert "two files of one time point among the 2 files of b2_p2" in faults["infected/x_b2_p2_t0.tif"].reason


def test_floating_point_files_of_one_stack_have_one_range(tmp_path):
    for number, pixels in enumerate((GREY[0] / 65535, GREY[1].astype(float))):
        save(tmp_path / "infected" / f"x_b2_p1_t{number}.tif", pixels.astype(np.float32))
    units, _ = scanned(tmp_path)
    (fault,) = make(units["infected/x_b2_p1_t0.tif"])
    assert fault.reason.startswith("x_b2_p1_t1.tif holds numbers of another range than the files before it")


def test_a_name_that_ends_in_ome_tif_tells_its_place(tmp_path):
    save(tmp_path / "infected" / "20260101_b2_p1.ome.tif", GREY, ome=True, metadata={"axes": "TYX"})
    units, faults = scanned(tmp_path)
    assert not faults
    assert units["infected/20260101_b2_p1.ome.tif"].place.stack == "20260101_b2_p1"


def positions(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, ome=True) as file:
        for number, name in enumerate(names):
            file.write(GREY + number, photometric="minisblack", metadata={"axes": "TYX", "Name": name})


def test_positions_of_a_file_find_their_place_by_their_names_or_the_file_s_well(tmp_path):
    positions(tmp_path / "infected" / "20260101_b2_scan.ome.tif", ["one", "two"])
    positions(tmp_path / "infected" / "whole plate.ome.tif", ["x_b3_p7", "x_b4_p1"])
    positions(tmp_path / "infected" / "nowhere.ome.tif", ["one", "two"])
    units, faults = scanned(tmp_path)
    assert {name: (unit.place.well_name, unit.place.position) for name, unit in units.items() if unit.label} == {
        "infected/20260101_b2_scan.ome.tif position 1": ("20260101_b2", 1),
        "infected/20260101_b2_scan.ome.tif position 2": ("20260101_b2", 2),
        "infected/whole plate.ome.tif position 1": ("b3", 7),
        "infected/whole plate.ome.tif position 2": ("b4", 1),
    }
    assert (
        "several positions, and neither their names (one) nor the file's tell the well"
        in faults["infected/nowhere.ome.tif"].reason
    )
    both = [units[f"infected/whole plate.ome.tif position {number}"] for number in (1, 2)]
    assert len({rows_of(unit)[0]["source_sha256"] for unit in both}) == 2  # else one file in two splits would be a leak


def ome_header(images: list[tuple[str, list[tuple[str, int]]]]) -> str:
    """OME-XML of images whose planes lie in (file, directory)."""
    text = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    for number, (name, planes) in enumerate(images):
        text += (
            f'<Image ID="Image:{number}" Name="{name}"><Pixels ID="Pixels:{number}" DimensionOrder="XYCZT" Type="uint16" '
            f'SizeX="30" SizeY="40" SizeC="1" SizeZ="1" SizeT="{len(planes)}"><Channel ID="Channel:{number}:0"/>'
        )
        for time, (file, place) in enumerate(planes):
            uuid = f'<UUID FileName="{file}">urn:uuid:{file}</UUID>'
            text += f'<TiffData FirstT="{time}" IFD="{place}" PlaneCount="1">{uuid}</TiffData>'
        text += "</Pixels></Image>"
    return text + "</OME>"


def test_an_ome_set_of_two_files_is_read_once(tmp_path, recwarn):
    one, two = "x_b2_p1_first.ome.tif", "x_b2_p1_second.ome.tif"
    header = ome_header([("a", [(one, i) for i in range(4)] + [(two, i) for i in range(2)])])
    for name, part in ((one, GREY[:4]), (two, GREY[4:])):
        save(tmp_path / "infected" / name, part, description=header)
    units, faults = scanned(tmp_path)
    assert faults[f"infected/{two}"].packed  # a remark: nothing is lost
    assert [path for path in units if path.startswith("infected")] == [f"infected/{one}"]
    unit = units[f"infected/{one}"]
    assert unit.shape.pages == 6
    assert np.array_equal(np.stack([page for _, page in unit.read(print)]), GREY)
    before = unit.hash_source()
    (tmp_path / "infected" / two).write_bytes((tmp_path / "infected" / two).read_bytes() + b"\0")
    assert unit.hash_source() != before
    assert not [str(warning.message) for warning in recwarn if "closed file" in str(warning.message)]
    (tmp_path / "infected" / two).unlink()
    (fault,) = make(scanned(tmp_path)[0][f"infected/{one}"])
    assert fault.reason == "page 4 does not read (the header names it, the file does not hold it)"


def test_an_ome_set_of_a_file_a_position(tmp_path):
    names = ["x_b2_p1.ome.tif", "x_b2_p2.ome.tif"]
    header = ome_header([(name, [(name, i) for i in range(6)]) for name in names])
    for number, name in enumerate(names):
        save(tmp_path / "infected" / name, GREY + number, description=header)
    units, faults = scanned(tmp_path)
    assert not faults
    for number, name in enumerate(names):
        assert np.array_equal(np.stack([page for _, page in units[f"infected/{name}"].read(print)]), GREY + number)


def write_zarr(path: Path, images: dict[str, np.ndarray], *, axes: str, attributes: dict | None = None) -> None:
    """Images by their place in the store, each with the metadata of version 0.4."""
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    root.attrs.update(attributes or {})
    units = {"t": ("time", "minute"), "c": ("channel", None), "z": ("space", "micrometer"), "y": ("space", "micrometer")}
    for place, pixels in images.items():
        group = root.require_group(place) if place else root
        group.create_array("0", data=pixels, chunks=(1,) * (pixels.ndim - 2) + pixels.shape[-2:])
        named = [dict(zip(("name", "type", "unit"), (axis, *units.get(axis, units["y"])), strict=True)) for axis in axes]
        scale = [{"t": 30.0, "y": 0.65, "x": 0.65}.get(axis, 1.0) for axis in axes]
        change = [{"type": "scale", "scale": scale}]
        group.attrs["multiscales"] = [
            {"version": "0.4", "axes": named, "datasets": [{"path": "0", "coordinateTransformations": change}]}
        ]
        group.attrs["omero"] = {"channels": [{"label": "phase"}, {"label": "gfp"}]} if "c" in axes else {}


def test_an_ome_zarr_image(tmp_path):
    pixels = GREY.reshape(3, 2, 40, 30)
    write_zarr(tmp_path / "infected" / "x_b2_p1.ome.zarr", {"": pixels}, axes="tcyx")
    units, faults = scanned(tmp_path, channel="gfp")
    assert not faults
    unit = units["infected/x_b2_p1.ome.zarr"]
    assert (unit.shape.pages, unit.shape.interval, unit.shape.pixel_um) == (3, 1800, 0.65)
    assert np.array_equal(np.stack([page for _, page in unit.read(print)]), pixels[:, 1])
    assert len(rows_of(unit)) == 3
    _, faults = scanned(tmp_path)
    assert "2 channels of one moment (phase, gfp)" in faults["infected/x_b2_p1.ome.zarr"].reason


def test_an_ome_zarr_plate_tells_wells_and_fields(tmp_path):
    plate = {"plate": {"wells": [{"path": "B/2"}, {"path": "B/3"}]}}
    path = tmp_path / "infected" / "plate.zarr"
    write_zarr(path, {"B/2/0": GREY, "B/2/1": GREY + 1, "B/3/0": GREY + 2}, axes="tyx", attributes=plate)
    zarr = pytest.importorskip("zarr")
    for well, count in (("B/2", 2), ("B/3", 1)):
        zarr.open_group(str(path), mode="a")[well].attrs["well"] = {"images": [{"path": str(i)} for i in range(count)]}
    units, faults = scanned(tmp_path)
    assert not faults
    assert sorted((unit.place.well, unit.place.position) for unit in units.values() if unit.label) == [
        ("b2", 1),
        ("b2", 2),
        ("b3", 1),
    ]
    unit = units["infected/plate.zarr position 3"]
    assert np.array_equal(np.stack([page for _, page in unit.read(print)]), GREY + 2)


def test_a_folder_that_is_no_ome_zarr_says_so(tmp_path):
    pytest.importorskip("zarr")
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ValueError, match=r"^\S[^\n]*$"):
        read_positions(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
    with pytest.raises(ValueError, match="not an OME-Zarr image or plate"):
        read_positions(tmp_path / "a.zarr")


@pytest.mark.parametrize(("suffix", "module", "named"), [
    (".nd2", "bioio_nd2", "bioio and bioio-nd2"),
    (".czi", "bioio_czi", "bioio and bioio-czi"),
    (".lif", "liffile", "liffile"),
])  # fmt: skip
def test_a_maker_s_own_format_names_the_extra(suffix, module, named, tmp_path, monkeypatch):
    path = tmp_path / f"x_b2_p1{suffix}"
    path.write_bytes(b"not of this format")
    if importlib.util.find_spec(module):
        with pytest.raises(ValueError, match=rf"^does not read as \{suffix} \([^\n]*\)$"):
            read_positions(path)
    monkeypatch.setitem(sys.modules, module, None)  # as where the extra is not installed
    with pytest.raises(ValueError, match=rf"a \{suffix} file is read with {named}: .*'tarpon\[microscopes\]'"):
        read_positions(path)


def test_an_ome_zarr_folder_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.zarr").mkdir()
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ValueError, match=r"an OME-Zarr folder is read with zarr: pip install 'tarpon\[zarr\]'"):
        read_positions(tmp_path / "a.zarr")


def test_a_czi_file_that_is_written_here_is_read(tmp_path):
    """Only where the extra is installed."""
    pytest.importorskip("bioio_czi")
    from pylibCZIrw import czi

    pixels = GREY.reshape(3, 2, 40, 30)
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for time in range(3):
            for channel in range(2):
                file.write(data=pixels[time, channel][..., None], plane={"T": time, "C": channel, "Z": 0})
        file.write_metadata(document_name="a", channel_names={0: "phase", 1: "gfp"}, scale_x=0.65e-6, scale_y=0.65e-6)
    choice = PageChoice(channel="gfp")
    (position,) = read_positions(tmp_path / "a.czi", choice=choice)
    assert (position.shape.pages, position.shape.pixel_um) == (3, pytest.approx(0.65))
    assert np.array_equal(np.stack(list(read_pages(tmp_path / "a.czi", choice=choice))), pixels[:, 1])


def test_other_files_are_told_what_is_read(tmp_path):
    for name, said in (
        ("a.oib", "Olympus.* are not read; export OME-TIFF"),
        ("a.jpg", "not a .tif or .tiff file, a .zarr folder"),
    ):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=said):
            find_reader(tmp_path / name)


@pytest.mark.parametrize("kind", ["set", "zarr"])
def test_a_stack_of_several_files_at_a_url_is_that_of_the_folder(tmp_path, faulty_server, kind):
    """Both its scan and its packing fetch all that it is made of, and nothing else."""
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install 'tarpon[http]'")
    lab = tmp_path / "lab"
    if kind == "zarr":
        write_zarr(lab / "infected" / "x_b2_p1.ome.zarr", {"": GREY}, axes="tyx")
    else:
        names = ["x_b2_p1.ome.tif", "x_b2_p2.ome.tif"]
        header = ome_header([(name, [(name, i) for i in range(6)]) for name in names])
        for number, name in enumerate(names):
            save(lab / "infected" / name, GREY + number, description=header)
    save(lab / "uninfected" / "x_c2_p1.tif", GREY)
    options, made = CellsSource(), []
    with faulty_server.serving(lab) as server:
        server.lists = True
        for root, place in ((lab, Path), (server.url, str)):
            places = [place(f"{root}/{name}") for name in ("infected", "uninfected")]
            limit = Scratch(folder=str(tmp_path / "s"))
            listed = scan_places(CELLS, places, options, listing={}, scratch=limit, workers=1)
            made.append({unit.name(): list(listed.source.make(unit)) for unit in listed.found.units})
            assert not listed.found.faults
    here, there = ({name: [one.files for one in items] for name, items in one.items()} for one in made)
    assert there == here
    assert len(there) == 2 + (kind == "set")
