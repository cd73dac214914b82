"""Damage to re-identification shards is found by the check that is meant to find it, and by no check that is not."""

import io
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tarpon.shards.pack import Packing, pack
from tarpon.shards.sources.star import source
from tarpon.tools import lint


@pytest.fixture(scope="module")
def whole(tmp_path_factory, unseal) -> Path:
    """Two animals of three sessions and one of one."""
    root, out = tmp_path_factory.mktemp("stars"), tmp_path_factory.mktemp("shards")
    for number, name in enumerate(
        ("a/1_1_2022", "a/1_2_2022", "a/1_3_2022", "b/1_1_2022", "b/1_2_2022", "b/1_3_2022", "c/1_1_2022")
    ):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)).save(buffer, "JPEG")
        (root / name).mkdir(parents=True)
        (root / name / "x.jpg").write_bytes(buffer.getvalue())
    found = source.scan(root, source.StarSource(), rule="month_first")
    with ThreadPoolExecutor(1) as pool:
        packing = Packing(out=out, split=(1, 1, 1))
        manifest, _ = pack(source.STAR, found, options=source.StarSource(), packing=packing, executor=pool, progress=False)
    unseal(manifest)
    return out


@pytest.fixture
def shards(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "shards")


def found(shards: Path) -> set[str]:
    return {finding.check for finding in lint.lint(str(shards), workers=1)}


def change(shards: Path, edit: Callable[[dict], dict | None]) -> None:
    """Change the first row for which `edit` gives new cells; the card's counts follow."""
    table = pq.read_table(shards / "manifest.parquet")
    rows = table.to_pylist()
    place, cells = next((i, cells) for i, row in enumerate(rows) if (cells := edit(row)))
    rows[place] |= cells
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), shards / "manifest.parquet")
    card = json.loads((shards / "dataset.json").read_text())
    names = [row["split"] for row in rows]
    card["splits"] = {name: names.count(name) for name in dict.fromkeys(names)}
    card["split"]["groups"] = len({row["group"] for row in rows})
    (shards / "dataset.json").write_text(json.dumps(card))


def test_sound_shards_have_no_findings(shards):
    assert lint.lint(str(shards), workers=1) == []


@pytest.mark.parametrize(("edit", "checks"), [
    (lambda row: {"identity": "other__a"}, {"meta", "labels"}),
    (lambda row: {"dataset": "other"}, {"meta", "labels"}),
    (lambda row: {"date": "2022-02-30"}, {"meta", "labels"}),
    (lambda row: {"session": "2022-01-09"}, {"meta", "labels"}),
    (lambda row: {"group": "x|y"}, {"meta", "labels"}),
    (lambda row: {"outing": "elsewhere"}, {"meta"}),
    (lambda row: {"width": 9}, {"meta", "image"}),
    (lambda row: {"species": None}, {"columns"}),
    (lambda row: row["distractor"] and {"split": "test"}, {"labels"}),
    (lambda row: row["split"] == "train" and {"novel": True}, {"meta", "labels"}),
    (lambda row: row["split"] == "val" and {"split": "test"}, set()),
])  # fmt: skip
def test_a_wrong_manifest_cell(shards, edit, checks):
    change(shards, edit)
    assert found(shards) == checks
