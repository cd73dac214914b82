"""Stacks become pages: bit for bit, with the time, place, class and range of each; what does not fit is named."""

import io
import json
import re
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tifffile
import torch

from tarpon.shards.quarantine import Fault
from tarpon.shards.reader import Reader
from tarpon.shards.sources.cells.pages import decode_tiff
from tarpon.shards.sources.cells.schema import CLASSES
from tarpon.shards.sources.cells.source import CellsSource, make, scan, select_hours
from tarpon.shards.split import assign_fold_splits
from tarpon.tools import lint

NAME = "20251023x_s5_{well}_p{position}_t0-{last}_ec.tif"


def stack(folder: Path, *, well: str, position: int, pages: int = 3, last: int | None = None, seed: int | None = None) -> Path:
    rng = np.random.default_rng(int(well, 36) * 100 + position if seed is None else seed)
    path = folder / NAME.format(well=well, position=position, last=pages - 1 if last is None else last)
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, rng.integers(0, 65536, (pages, 8, 9), dtype=np.uint16), photometric="minisblack", metadata=None)
    return path


@pytest.fixture
def lab(tmp_path) -> Path:
    """Two wells a class, two positions a well."""
    for folder, wells in (("infected", ("b2", "b3")), ("uninfected", ("c2", "c3"))):
        for well in wells:
            for position in (1, 2):
                stack(tmp_path / "lab" / folder, well=well, position=position)
    return tmp_path / "lab"


def faults_of(lab: Path, **options) -> dict[str, str]:
    units, faults = scan(lab / "infected", lab / "uninfected", CellsSource(**options))
    for unit in units:
        faults += [item for item in make(unit) if hasattr(item, "reason")]
    return {fault.file: fault.reason for fault in faults}


def test_every_page_is_stored_bit_for_bit_with_what_is_known_of_it(cells_lab, cells_shards):
    reader, by_stack = Reader(cells_shards), defaultdict(list)
    for number, row in enumerate(cells_shards.table.to_pylist()):
        by_stack[row["source"]].append((row, decode_tiff(reader.read(number, "tif"))))
    files = sorted(cells_lab.glob("*infected/*.tiff"))
    assert sorted(by_stack) == sorted(f"{path.parent.name}/{path.name}" for path in files)
    for path in files:
        pixels, found = tifffile.imread(path), by_stack[f"{path.parent.name}/{path.name}"]
        assert np.array_equal(np.stack([page for _, page in found]), pixels)
        low, high = np.percentile(pixels, [0.1, 99.9], method="inverted_cdf")
        for number, (row, page) in enumerate(found):
            assert row["page"] == number
            assert row["hours"] == number / 2
            assert row["label"] == int(path.parent.name == "infected")
            assert CLASSES[row["label"]] == path.parent.name
            assert (row["low"], row["high"]) == (low, high)
            assert [row["first_low"], row["first_high"]] == np.percentile(
                pixels[0], [0.1, 99.9], method="inverted_cdf"
            ).tolist()
            assert (row["frame_min"], row["frame_max"]) == (page.min(), page.max())
            assert (row["bits"], row["channels"]) == (8 * pixels.dtype.itemsize, 3 if pixels.ndim == 4 else 1)
            assert f"_{row['well'].removeprefix('20251023_')}_p{row['position']}_" in path.name
    assert {row["bits"] for found in by_stack.values() for row, _ in found} == {8, 16}
    reader.close()


def test_a_shard_holds_both_classes_and_the_json_tells_the_row(cells_shards):
    reader = Reader(cells_shards)
    for number, row in enumerate(cells_shards.table.to_pylist()[:20]):
        told = json.loads(io.BytesIO(reader.read(number, "json")).read())
        assert all(told[name] == row[name] for name in ("stack", "label", "well", "low"))
        assert not {"split", "fold"} & set(told)
    reader.close()


def test_groups_stand_in_one_split_and_one_fold_and_folds_never_test_a_stack_twice(cells_shards):
    table = cells_shards.table.to_pylist()
    for name in ("split", "fold"):
        assert max(Counter(group for group, _ in {(row["group"], row[name]) for row in table}).values()) == 1
    groups, folds, labels = ([row[name] for row in table] for name in ("group", "fold", "label"))
    tested = Counter()
    for k in range(3):
        splits = assign_fold_splits(folds, groups, labels, k=k, val_share=0.3)
        for split in ("train", "val", "test"):
            assert {label for label, s in zip(labels, splits, strict=True) if s == split} == {0, 1}
        tested.update({row["stack"] for row, split in zip(table, splits, strict=True) if split == "test"})
    assert set(tested.values()) == {1}
    assert len(tested) == 12


def test_real_stacks_have_93_pages_where_the_name_says_95(tmp_path, pack_cells):
    """The exact sizes of the published data set: 91 frames of infected [1, 48], 93 of uninfected [0, 48]."""
    for position in (1, 2, 3):
        stack(tmp_path / "infected", well="b2", position=position, pages=93, last=94)
        stack(tmp_path / "uninfected", well="c4", position=position, pages=93, last=94)
    manifest, faults = pack_cells(tmp_path, tmp_path / "out")
    assert faults == []
    assert len(manifest) == 6 * 93
    assert "6 of 6 stacks hold another number of pages" in manifest.card["notes"][0]
    assert "93, t0-94" in manifest.card["notes"][0]
    hours, label = manifest.column("hours"), manifest.column("label")
    assert select_hours(hours[label == 1], (1, 48), frames_per_hour=2).sum() == 3 * 91
    assert select_hours(hours[label == 0], (0, 48), frames_per_hour=2).sum() == 3 * 93


def test_a_name_may_tell_that_a_stack_begins_late(tmp_path):
    path = stack(tmp_path / "infected", well="b2", position=1)
    path.rename(path.with_name("x_b2_p1_t10-12.tif"))
    stack(tmp_path / "uninfected", well="c2", position=1)
    units, _ = scan(tmp_path / "infected", tmp_path / "uninfected", CellsSource())
    late = next(unit for unit in units if unit.label)
    assert [sample.row["hours"] for sample in make(late)] == [5, 5.5, 6]
    assert [sample.key for sample in make(late)] == ["b2_p1_0000", "b2_p1_0001", "b2_p1_0002"]


def test_an_interval_of_the_files_that_contradicts_the_option_is_named(tmp_path):
    for folder, well in (("infected", "b2"), ("uninfected", "c2")):
        path = stack(tmp_path / folder, well=well, position=1)
        tifffile.imwrite(path, tifffile.imread(path), imagej=True, metadata={"axes": "TYX", "finterval": 600.0})
    folders = (tmp_path / "infected", tmp_path / "uninfected")
    units, faults = scan(*folders, CellsSource(frames_per_hour=2))
    assert not units
    reason = "the file tells 10 min from page to page, frames_per_hour=2 tells 30; set frames_per_hour to 6, or mend"
    assert all(fault.reason.startswith(reason) for fault in faults)
    units, faults = scan(*folders, CellsSource(frames_per_hour=6))
    assert not faults
    assert [sample.row["hours"] for sample in make(units[0])] == pytest.approx([0, 1 / 6, 2 / 6])


def test_what_does_not_fit_is_named(lab):
    infected, uninfected = lab / "infected", lab / "uninfected"
    (infected / "thumbs.db").write_bytes(b"x")
    (infected / ".hidden.tif").write_bytes(b"x")
    (infected / "more").mkdir()
    shutil.copy(next(infected.glob("*b2_p1*")), infected / "stack_without_place.tif")
    (uninfected / NAME.format(well="c5", position=1, last=2)).write_bytes(b"404 Not Found")
    cut = stack(uninfected, well="c6", position=1, pages=9)
    cut.write_bytes(cut.read_bytes()[:-700])
    flat = stack(uninfected, well="c7", position=1)
    pages = tifffile.imread(flat)
    pages[1] = 5
    tifffile.imwrite(flat, pages, photometric="minisblack", metadata=None)
    again = stack(infected, well="b3", position=2, seed=99)
    again.rename(again.with_name(again.name.replace("_s5_", "_s6_")))
    stack(infected, well="b3", position=2)
    shutil.copy(next(infected.glob("*b2_p2*")), uninfected / NAME.format(well="c8", position=1, last=2))
    found = faults_of(lab)
    expected = {
        "infected/thumbs.db": "not a .tif",
        "infected/more": "not a .tif",
        "infected/stack_without_place.tif": "well and position",
        f"uninfected/{NAME.format(well='c5', position=1, last=2)}": "TIFF",
        f"uninfected/{cut.name}": "cut short or damaged|corrupted",
        f"uninfected/{flat.name}": "every pixel of the page has one value",
        f"infected/{again.name.replace('_s5_', '_s6_')}": "are also those of infected/2025",
        f"infected/{NAME.format(well='b2', position=2, last=2)}": "the same file as uninfected/",
        f"uninfected/{NAME.format(well='c8', position=1, last=2)}": "the same file as infected/",
    }
    assert set(found) == set(expected)
    for file, part in expected.items():
        assert any(one in found[file] for one in part.split("|")), (file, found[file])


def test_a_damaged_page_takes_the_whole_stack_with_it(tmp_path):
    for folder, well in (("infected", "b2"), ("uninfected", "c2")):
        path = tmp_path / folder / NAME.format(well=well, position=1, last=4)
        path.parent.mkdir()
        pages = np.random.default_rng(len(well)).integers(0, 999, (5, 64, 64), dtype=np.uint16)
        tifffile.imwrite(path, pages, compression="deflate", metadata=None, photometric="minisblack")
        with tifffile.TiffFile(path) as tif:
            place = tif.pages[3].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[place : place + 200] = bytes(200)
    path.write_bytes(content)
    units, _ = scan(tmp_path / "infected", tmp_path / "uninfected", CellsSource())
    (fault,) = make(next(unit for unit in units if not unit.label))
    assert "page 3 does not read" in fault.reason


@pytest.mark.parametrize(("group", "names"), [
    ("stack", {f"20251023_{well}_p{p}" for well in ("b2", "b3", "c2", "c3") for p in (1, 2)}),
    ("well", {f"20251023_{well}" for well in ("b2", "b3", "c2", "c3")}),
    ("plate", {"20251023"}),
    (r"_([bc])\d_", {"b", "c"}),
])  # fmt: skip
def test_groups(group, names, lab):
    units, faults = scan(lab / "infected", lab / "uninfected", CellsSource(group=group))
    assert {unit.group for unit in units} == names
    assert not faults


def test_a_name_without_the_group_is_a_fault(lab):
    assert all("does not tell the group" in reason for reason in faults_of(lab, group=r"plate(\d)").values())
    assert len(faults_of(lab, group=r"plate(\d)")) == 8


@pytest.mark.parametrize("side", [0, 32])
def test_packing_again_elsewhere_gives_the_same_shards(lab, tmp_path, pack_cells, side):
    one, _ = pack_cells(lab, tmp_path / "one", source=CellsSource(folds=2, side=side))
    other = shutil.copytree(lab, tmp_path / "elsewhere")  # times of change are kept
    two, _ = pack_cells(other, tmp_path / "two", source=CellsSource(folds=2, side=side))
    assert one.fingerprint() == two.fingerprint()
    assert one.column("fold").tolist() == two.column("fold").tolist()
    assert [(tmp_path / "one" / f).read_bytes() for f in set(one.column("shard"))] == [
        (tmp_path / "two" / f).read_bytes() for f in set(one.column("shard"))
    ]
    assert lint.lint(one.root, workers=1) == []


def test_too_many_folds_are_told(lab, tmp_path, pack_cells):
    with pytest.raises(ValueError, match=r"folds=3, but class 0 has 2 group\(s\)"):
        pack_cells(lab, tmp_path / "out", source=CellsSource(folds=3, group="well"))
    for path in (lab / "infected").glob("*b3*"):
        tifffile.imwrite(path, np.zeros((3, 4, 4), np.uint16), photometric="minisblack", metadata=None)
    with pytest.raises(ValueError, match=r"fold \d holds stacks of one class only after the quarantine"):
        pack_cells(lab, tmp_path / "out", source=CellsSource(folds=2, group="well"), split=(0.7, 0, 0.3))


@pytest.mark.parametrize(("options", "part"), [
    ({"frames_per_hour": 0}, "frames_per_hour=0"), ({"folds": 1}, "folds=1"), ({"folds": -2}, "folds=-2"),
    ({"group": "dish"}, "group='dish' must be stack, well, plate"), ({"group": "("}, "no regular expression"),
    ({"name_regex": "x"}, "has no group"), ({"side": 31}, "side=31"), ({"side": -1}, "side=-1"),
])  # fmt: skip
def test_wrong_options_are_told(options, part):
    with pytest.raises(ValueError, match=part):
        CellsSource(**options)


def test_wrong_folders_are_told(lab):
    with pytest.raises(ValueError, match="are one folder"):
        scan(lab / "infected", lab / "uninfected" / ".." / "infected", CellsSource())
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        scan(lab / "infected", lab / "nowhere", CellsSource())
    (lab / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: holds no files; the uninfected stacks must lie"):
        scan(lab / "infected", lab / "empty", CellsSource())


def test_a_real_stack_is_packed_whole(shared_data, tmp_path, pack_cells):
    real = tifffile.imread(shared_data / "cell_timelapse" / "cancer_cell_migration_crop.tif")
    for folder, well, part in (("infected", "b2", real[:24]), ("uninfected", "c4", real[24:])):
        (tmp_path / folder).mkdir()
        name = NAME.format(well=well, position=1, last=23)
        tifffile.imwrite(tmp_path / folder / name, part, photometric="minisblack", compression="lzw", metadata=None)
    manifest, faults = pack_cells(tmp_path, tmp_path / "out", split=(0.5, 0.5, 0))
    assert faults == []
    reader = Reader(manifest)
    for number, row in enumerate(manifest.table.to_pylist()):
        assert np.array_equal(decode_tiff(reader.read(number, "tif")), real[row["page"] + 24 * (1 - row["label"])])
    assert manifest.table.schema.field("low").type == pa.int32()
    reader.close()


def test_pages_are_stretched_once_where_a_side_is_asked_for(cells_lab, tmp_path, pack_cells):
    """Against the antialiased resize of torch, at the page's own depth; the stack's levels stay those of the whole pages."""
    whole, _ = pack_cells(cells_lab, tmp_path / "whole")
    manifest, _ = pack_cells(cells_lab, tmp_path / "small", source=CellsSource(side=32))
    small, full = Reader(manifest), Reader(whole)
    for row in range(0, len(manifest), 7):
        assert manifest.value(row, "key") == whole.value(row, "key")
        got, page = decode_tiff(small.read(row, "tif")), decode_tiff(full.read(row, "tif"))
        assert got.dtype == page.dtype
        assert got.shape[:2] == (32, 32) == (manifest.value(row, "height"), manifest.value(row, "width"))
        planes = torch.from_numpy(page.reshape(*page.shape[:2], -1).astype(np.float64)).permute(2, 0, 1)[None]
        want = torch.nn.functional.interpolate(planes, size=(32, 32), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        assert np.abs(got.reshape(32, 32, -1) - want.numpy()).max() <= 0.51  # rounded to a level
        assert (manifest.value(row, "frame_min"), manifest.value(row, "frame_max")) == (got.min(), got.max())
        assert manifest.value(row, "low") == whole.value(row, "low")


def test_a_stack_whose_header_names_a_missing_plane_is_a_fault_and_the_others_are_packed(tmp_path, pack_cells):
    for folder, wells in (("infected", "abc"), ("uninfected", "def")):
        for well in wells:
            stack(tmp_path / folder, well=f"{well}2", position=1)
    path = tmp_path / "infected" / "20251023x_s5_g2_p1_t0-2_ec.ome.tif"
    tifffile.imwrite(path, np.arange(3 * 72, dtype=np.uint16).reshape(3, 8, 9), metadata={"axes": "TYX"}, ome=True)
    planes = "".join(f'<TiffData IFD="{t}" FirstT="{t}" FirstC="0" FirstZ="0" PlaneCount="1"/>' for t in (0, 2))
    with tifffile.TiffFile(path) as tif:
        header = re.sub(r"<TiffData[^>]*/>|<TiffData[^>]*>.*?</TiffData>", planes, tif.ome_metadata, count=1, flags=re.DOTALL)
    tifffile.tiffcomment(path, header.encode())
    manifest, faults = pack_cells(tmp_path, tmp_path / "out")
    assert len(set(manifest.column("stack"))) == 6
    assert faults == [
        Fault(file=f"infected/{path.name}", reason="page 1 does not read (the header names it, the file does not hold it)")
    ]
