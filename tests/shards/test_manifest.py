"""Manifest: opened whole or refused in one line."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tarpon.shards.manifest import CARD, CHECKSUMS, MANIFEST, open_manifest


def refused(root: object, match: str, **options) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        open_manifest(root, **options)
    assert "\n" not in str(caught.value)


def test_a_missing_an_unfinished_and_a_wrong_set_are_refused(toy_shards, tmp_path):
    refused(tmp_path / "nowhere", "no manifest.parquet here; give the folder")
    (tmp_path / "begun" / "parts").mkdir(parents=True)
    refused(tmp_path / "begun", "packing did not finish")
    manifest = toy_shards()
    assert open_manifest(manifest.root, kind="toy").fingerprint() == manifest.fingerprint()
    refused(manifest.root, "holds toy data, mouse is needed", kind="mouse")
    card = Path(manifest.root) / CARD
    text = card.read_text()
    card.write_text(json.dumps(json.loads(text) | {"schema_version": 99}))
    refused(manifest.root, r"schema version 99, this Tarpon reads \d+; pack again")
    card.write_text(text[:40])
    refused(manifest.root, "not valid JSON")
    card.unlink()
    refused(manifest.root, "no dataset.json")
    card.write_text(text)
    (Path(manifest.root) / MANIFEST).write_bytes(b"PAR1 and then nothing")
    refused(manifest.root, "checksum differs")
    unsealed = {name: value for name, value in json.loads(text).items() if name not in CHECKSUMS}
    card.write_text(json.dumps(unsealed))
    refused(manifest.root, "not readable")


def test_rows_columns_and_lists(toy_shards):
    manifest = toy_shards()
    rows = {split: manifest.rows(split) for split in ("train", "val", "test")}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(rows.values()))), np.arange(22))
    assert (manifest.column("split")[rows["val"]] == "val").all()
    refused_split = pytest.raises(ValueError, match="'dev' must be one of train, val, test")
    with refused_split:
        manifest.rows("dev")
    values, offsets = manifest.lists("counts", np.array([1, 0, 21]))
    np.testing.assert_array_equal(values, [1, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(offsets, [0, 2, 4, 6])
    values, offsets = manifest.lists("counts", np.array([], np.int64))
    assert len(values) == 0
    np.testing.assert_array_equal(offsets, [0])
    assert manifest.value(3, "number") == 1


def test_no_group_is_in_two_splits(mouse_shards):
    pairs = set(zip(mouse_shards.column("group"), mouse_shards.column("split"), strict=True))
    assert len(pairs) == len(set(mouse_shards.column("group"))) == 3


def test_the_fingerprint_is_of_the_content(toy_shards, tmp_path):
    one, same, other = toy_shards(tmp_path / "a"), toy_shards(tmp_path / "b"), toy_shards(tmp_path / "c", count=11)
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_a_manifest_or_card_that_is_not_the_one_that_was_packed_is_refused(toy_shards, tmp_path):
    root = Path(toy_shards(tmp_path / "a").root)
    assert open_manifest(root).remark is None
    other = Path(toy_shards(tmp_path / "b", count=11).root)
    whole = (root / MANIFEST).read_bytes()
    (root / MANIFEST).write_bytes((other / MANIFEST).read_bytes())
    refused(root, r"manifest\.parquet: checksum differs from dataset\.json")
    for place in range(4, len(whole), 97):
        content = bytearray(whole)
        content[place] ^= 16
        (root / MANIFEST).write_bytes(content)
        refused(root, r"manifest\.parquet: checksum differs")
    (root / MANIFEST).write_bytes(whole)
    text = (root / CARD).read_text()
    for name, value in json.loads(text).items():
        if name != "schema_version":
            (root / CARD).write_text(json.dumps(json.loads(text) | {name: [value, "changed"]}))
            refused(root, "checksum of the card differs" if name != "manifest_sha256" else "checksum of the card")
    for content in ("[]", "7", '"text"', "[" * 100_000):
        (root / CARD).write_text(content)
        refused(root, r"dataset\.json: (holds a|not valid JSON)")


def test_data_of_earlier_versions_open_with_a_remark_and_what_is_missing_names_the_file(toy_shards):
    root = Path(toy_shards().root)
    card = {name: value for name, value in json.loads((root / CARD).read_text()).items() if name not in CHECKSUMS}
    (root / CARD).write_text(json.dumps(card))
    manifest = open_manifest(root)
    assert "no checksum of its manifest" in manifest.remark
    with pytest.raises(ValueError, match=r"manifest\.parquet: no column colour"):
        manifest.column("colour")
    table = manifest.table
    at = table.column_names.index("shard")
    for column, match in (
        (pa.array(["../../etc/passwd"] * len(table)), "is not a file of this folder"),
        (pa.array(range(len(table))), "column shard is not text"),
        (pa.array([None] * len(table), pa.string()), "column shard is not text"),
    ):
        pq.write_table(table.set_column(at, "shard", column), root / MANIFEST)
        refused(root, match)
    pq.write_table(table.drop_columns(["group"]), root / MANIFEST)
    refused(root, r"manifest\.parquet: no column group")
