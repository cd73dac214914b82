"""A stack saved again in another way is a copy, wherever it lies; what only looks alike is told."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from scipy import ndimage

from tarpon.shards.manifest import open_manifest
from tarpon.shards.quarantine import read_faults
from tarpon.tools import cli, lint


def course(seed: int) -> np.ndarray:
    """Six pages of soft blobs that move."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((6, 96, 96)), (0.4, 4, 4))
    return ((smooth - smooth.min()) / np.ptp(smooth) * 30000 + 1000).astype(np.uint16)


def save(path: Path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None, **options)


@pytest.fixture
def lab(tmp_path):
    """Three stacks a class, all unlike."""
    for number, well in enumerate(("b2", "b3", "b4", "c2", "c3", "c4")):
        save(tmp_path / "lab" / ("infected" if number < 3 else "uninfected") / f"x_{well}_p1.tif", course(number))
    return tmp_path / "lab"


def packed(lab: Path, out: Path, pack_cells) -> tuple[set[str], dict[str, str], dict[str, str]]:
    """Sources that were packed, reasons of the others, remarks."""
    manifest, faults = pack_cells(lab, out)
    assert read_faults(out / "quarantine.jsonl") == faults
    kept = set(manifest.column("source"))
    return kept, *({fault.file: fault.reason for fault in faults if fault.packed == told} for told in (False, True))


def test_another_compression_of_the_same_class_is_left_out(lab, tmp_path, pack_cells):
    save(lab / "infected" / "x_b5_p1.tif", course(0), compression="zlib")
    kept, reasons, remarks = packed(lab, tmp_path / "out", pack_cells)
    assert "infected/x_b2_p1.tif" in kept
    assert reasons == {
        "infected/x_b5_p1.tif": "6 of its 6 pages have the pixels of infected/x_b2_p1.tif, saved in another way or cut from it"
    }
    assert remarks == {}
    assert lint.lint(str(tmp_path / "out"), workers=1) == []


def test_a_copy_in_the_other_class_takes_both(lab, tmp_path, pack_cells):
    save(lab / "uninfected" / "x_c5_p1.tif", course(0)[2:5], compression="lzw", rowsperstrip=7)  # and cut in time
    kept, reasons, _ = packed(lab, tmp_path / "out", pack_cells)
    assert set(reasons) == {"infected/x_b2_p1.tif", "uninfected/x_c5_p1.tif"}
    assert reasons["infected/x_b2_p1.tif"].startswith("3 of its 6 pages have the pixels of uninfected/x_c5_p1.tif")
    assert reasons["uninfected/x_c5_p1.tif"].startswith("3 of its 3 pages")
    assert len(kept) == 5


def test_near_copies_are_told_and_packed(lab, tmp_path, pack_cells):
    save(lab / "infected" / "x_b5_p1.tif", (course(3) >> 7).astype(np.uint8))  # of another class and depth
    save(lab / "uninfected" / "x_c5_p1.tif", course(4)[:, 1:-1, 1:-1])
    kept, reasons, remarks = packed(lab, tmp_path / "out", pack_cells)
    assert len(kept) == 8
    assert reasons == {}
    assert set(remarks) == {"infected/x_b5_p1.tif", "uninfected/x_c3_p1.tif"}
    assert remarks["infected/x_b5_p1.tif"].startswith("looks like uninfected/x_c2_p1.tif (page ")
    assert lint.lint(str(tmp_path / "out"), workers=1) == []
    (note,) = lint.list_notes(open_manifest(tmp_path / "out"))
    assert note.startswith("2 near copies, which may be one picture twice: infected/x_b5_p1.tif: looks like")


def test_a_page_that_repeats_is_told(lab, tmp_path, pack_cells):
    pages = course(0)
    pages[3] = pages[4] = pages[2]
    pages[0] = pages[5] = 0  # dropped, which is told by itself
    save(lab / "infected" / "x_b2_p1.tif", pages)
    kept, reasons, remarks = packed(lab, tmp_path / "out", pack_cells)
    assert (len(kept), reasons) == (6, {"infected/x_b2_p1.tif": "every pixel of the page has one value"})
    line = "2 pages repeat an earlier one (first: page 3 is page 2); did the camera stall?"
    assert remarks == {"infected/x_b2_p1.tif": line}


def test_packing_goes_on_after_copies_were_left_out(lab, tmp_path, pack_cells):
    save(lab / "infected" / "x_b5_p1.tif", course(0), compression="zlib")
    first, faults = pack_cells(lab, tmp_path / "out")
    (tmp_path / "out" / "manifest.parquet").unlink()
    again, same = pack_cells(lab, tmp_path / "out")
    assert (again.fingerprint(), same) == (first.fingerprint(), faults)


def test_lint_finds_equal_pixels_in_two_splits(cells_shards, tmp_path):
    shards = Path(shutil.copytree(cells_shards.root, tmp_path / "shards"))
    table = pq.read_table(shards / "manifest.parquet")
    listed = table.to_pylist()
    one, other = (next(row for row in listed if row["split"] == split) for split in ("train", "test"))
    other["pixel_hash"] = one["pixel_hash"]
    pq.write_table(pa.Table.from_pylist(listed, schema=table.schema), shards / "manifest.parquet")
    found = {finding.check: finding.what for finding in lint.lint(str(shards), workers=1)}
    assert set(found) == {"copies", "meta", "image"}  # the page itself has other pixels
    assert "one picture with split" in found["copies"]


def test_shards_of_an_earlier_version_say_what_is_not_found(cells_shards, tmp_path, capsys):
    shards = Path(shutil.copytree(cells_shards.root, tmp_path / "shards"))
    table = pq.read_table(shards / "manifest.parquet")
    older = table.drop_columns(["pixel_hash", "perceptual_hash", "pixel_um", "onset_hour"])
    pq.write_table(older, shards / "manifest.parquet")
    assert cli.main(["lint", str(shards)]) == 0
    assert "copies saved in another way are not found; pack again" in capsys.readouterr().out
