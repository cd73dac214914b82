"""Manifest: opened whole or refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from tarpon.shards.manifest import CARD, MANIFEST, open_manifest


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
