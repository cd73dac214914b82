"""Damage to fish shards is found by the check that is meant to find it, and by no check that is not."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tarpon.shards.manifest import open_manifest
from tarpon.tools import lint


@pytest.fixture
def shards(fish_shards, tmp_path):
    return shutil.copytree(fish_shards.root, tmp_path / "shards")


def found(shards: Path) -> set[str]:
    return {finding.check for finding in lint.lint(str(shards), workers=1)}


def rows(shards: Path) -> list[dict]:
    return pq.read_table(shards / "manifest.parquet").to_pylist()


def change(shards: Path, edit: Callable[[dict], dict | None]) -> None:
    """Change the first row for which `edit` gives new cells."""
    table = pq.read_table(shards / "manifest.parquet")
    listed = table.to_pylist()
    place, cells = next((i, cells) for i, row in enumerate(listed) if (cells := edit(row)))
    listed[place] |= cells
    pq.write_table(pa.Table.from_pylist(listed, schema=table.schema), shards / "manifest.parquet")


def encoded(picture: Image.Image, form: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()


def smaller(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as picture:
        return encoded(picture.resize((picture.width - 1, picture.height)))


def grey(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as picture:
        return encoded(picture.convert("L"))


def test_sound_shards_have_no_findings_and_a_truthful_rewrite_neither(shards, rewrite_tar):
    assert lint.lint(str(shards), workers=1) == []
    rewrite_tar(shards, lambda name, content: content)
    assert found(shards) == set()


@pytest.mark.parametrize(("name", "edit", "check"), [
    ("jpg", lambda content: content[: len(content) // 2], "image"),
    ("jpg", lambda content: b"\0" * len(content), "image"),
    ("jpg", smaller, "image"),
    ("jpg", grey, "image"),
    ("json", lambda content: json.dumps(json.loads(content) | {"family": "Otheridae"}).encode(), "meta"),
    ("json", lambda content: json.dumps(json.loads(content) | {"habitat": [0] * 8}).encode(), "meta"),
    ("json", lambda content: json.dumps({k: v for k, v in json.loads(content).items() if k != "troph"}).encode(), "meta"),
    ("json", lambda content: b"[1]", "meta"),
])  # fmt: skip
def test_wrong_content_under_a_right_checksum(shards, name, edit, check, rewrite_tar):
    first = f"{open_manifest(shards).value(0, 'key')}.{name}"
    rewrite_tar(shards, lambda member, content: edit(content) if member == first else content)
    assert found(shards) == {check}


@pytest.mark.parametrize(("edit", "checks"), [
    (lambda row: {"family": "Otheridae"}, {"meta", "labels"}),
    (lambda row: {"order": "Otheriformes"}, {"meta", "labels"}),
    (lambda row: {"width": 7}, {"meta", "image"}),
    (lambda row: row["troph"] and {"troph": None}, {"meta", "labels"}),
    (lambda row: row["troph"] and {"troph": 9.5}, {"meta"}),
    (lambda row: row["habitat"] is None and {"habitat": [0] * 8}, {"meta", "labels"}),
    (lambda row: row["habitat"] and {"habitat": [2] * 8}, {"meta", "labels"}),
    (lambda row: {"family": None}, {"columns"}),
    (lambda row: row["species"] is None and {"source_sha256": None}, {"columns"}),
])  # fmt: skip
def test_a_wrong_manifest_cell(shards, edit, checks):
    change(shards, edit)
    assert found(shards) == checks


def test_a_species_in_train_and_val_is_a_leak_and_in_test_is_not(shards):
    table = [row for row in rows(shards) if row["species"]]
    train = {row["species"] for row in table if row["split"] == "train"}
    assert train & {row["species"] for row in table if row["split"] == "test"}  # sound as it is
    split = [row["split"] for row in rows(shards)]
    twice = next(s for s in sorted(train) if sum(r["species"] == s and r["split"] == "train" for r in table) > 1)
    change(shards, lambda row: row["species"] == twice and row["split"] == "train" and {"split": "val"})
    card = json.loads((shards / "dataset.json").read_text())
    card["splits"] |= {"train": split.count("train") - 1, "val": split.count("val") + 1}
    (shards / "dataset.json").write_text(json.dumps(card))
    (leak,) = lint.lint(str(shards), workers=1)
    assert leak.check == "splits"
    assert "a leak" in leak.what


def test_one_picture_in_train_and_test_is_a_leak(shards):
    test = next(row["source_sha256"] for row in rows(shards) if row["split"] == "test")
    change(shards, lambda row: row["split"] == "train" and {"source_sha256": test})
    leaks = [finding.what for finding in lint.lint(str(shards), workers=1) if finding.check == "splits"]
    assert len(leaks) == 1
    assert "one source file under two names" in leaks[0]
