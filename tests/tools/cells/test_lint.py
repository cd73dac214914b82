"""Damage to cell shards is found by the check that is meant to find it, and by no check that is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tarpon.shards.manifest import open_manifest
from tarpon.shards.sources.cells.pages import decode_tiff, encode_tiff
from tarpon.tools import lint


@pytest.fixture
def shards(cells_shards, tmp_path):
    return shutil.copytree(cells_shards.root, tmp_path / "shards")


def found(shards: Path) -> set[str]:
    return {finding.check for finding in lint.lint(str(shards), workers=1)}


def edited(shards: Path, edit: Callable[[list[dict]], None]) -> None:
    table = pq.read_table(shards / "manifest.parquet")
    listed = table.to_pylist()
    edit(listed)
    pq.write_table(pa.Table.from_pylist(listed, schema=table.schema), shards / "manifest.parquet")


def change(shards: Path, **cells) -> None:
    edited(shards, lambda listed: listed[0].update(cells))


def test_sound_shards_have_no_findings_and_a_truthful_rewrite_neither(shards, rewrite_tar):
    assert lint.lint(str(shards), workers=1) == []
    rewrite_tar(shards, lambda name, content: content)
    assert found(shards) == set()


@pytest.mark.parametrize(("name", "edit", "check"), [
    ("tif", lambda content: content[: len(content) // 2], "image"),
    ("tif", lambda content: b"\0" * len(content), "image"),
    ("tif", lambda content: encode_tiff(decode_tiff(content)[1:]), "image"),
    ("tif", lambda content: encode_tiff((decode_tiff(content) >> 8).astype("uint8")), "image"),
    ("tif", lambda content: encode_tiff(decode_tiff(content) // 2), "image"),
    ("json", lambda content: json.dumps(json.loads(content) | {"hours": 99}).encode(), "meta"),
    ("json", lambda content: json.dumps({k: v for k, v in json.loads(content).items() if k != "low"}).encode(), "meta"),
    ("json", lambda content: b"[1]", "meta"),
])  # fmt: skip
def test_wrong_content_under_a_right_checksum(shards, name, edit, check, rewrite_tar):
    first = f"{open_manifest(shards).value(0, 'key')}.{name}"
    rewrite_tar(shards, lambda member, content: edit(content) if member == first else content)
    assert found(shards) == {check}


@pytest.mark.parametrize(("cells", "checks"), [
    ({"label": 2}, {"meta", "labels"}),
    ({"hours": 0.3}, {"meta", "labels"}),
    ({"page": 99}, {"meta", "labels"}),
    ({"bits": 8}, {"meta", "image", "levels"}),
    ({"channels": 3}, {"meta", "image"}),
    ({"frame_max": 1}, {"meta", "image"}),
    ({"low": 70000}, {"meta", "levels"}),
    ({"first_low": -1}, {"meta", "levels"}),
    ({"fold": 7}, {"labels", "folds"}),
    ({"fold": -1}, {"labels", "folds"}),
    ({"well": None}, {"columns"}),
])  # fmt: skip
def test_a_wrong_manifest_cell(shards, cells, checks):
    change(shards, **cells)
    assert found(shards) == checks


def test_a_label_that_is_not_the_folder_s(shards):
    edited(shards, lambda listed: listed[0].update(label=1 - listed[0]["label"]))
    assert found(shards) == {"meta", "labels"}


def test_a_group_in_two_folds_is_a_leak(shards):
    edited(shards, lambda listed: listed[0].update(fold=(listed[0]["fold"] + 1) % 3))
    (leak,) = lint.lint(str(shards), workers=1)
    assert leak.check == "folds"
    assert "a leak" in leak.what
