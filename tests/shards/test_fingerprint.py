"""The fingerprint: the digest of Python's own words for every cell, however Arrow holds them."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from tarpon.shards import fingerprint
from tarpon.shards.fingerprint import hash_cells


def spelt(table: pa.Table) -> str:
    """As it is defined, one cell after another."""
    digest = hashlib.sha256()
    for name in sorted(table.column_names):
        digest.update("\0".join(map(str, table[name].to_pylist())).encode())
    return digest.hexdigest()


def every_type(count: int) -> pa.Table:
    rng = np.random.default_rng(count)
    numbers = rng.integers(-300, 300, (count, 5))
    return pa.table(
        {
            "z": pa.array([f"é{n}" if n % 3 else None for n in numbers[:, 0]], pa.string()),
            "int": pa.array([int(n) if n % 7 else None for n in numbers[:, 1]], pa.int64()),
            "small": pa.array(numbers[:, 2] % 100, pa.int8()),
            "list": pa.array(
                [list(map(int, row[: abs(row[0]) % 6] % 90)) if row[1] % 5 else None for row in numbers], pa.list_(pa.int8())
            ),
            "gaps": pa.array([[1, None, int(n)] for n in numbers[:, 3]], pa.list_(pa.int32())),
            "names": pa.array([["a", str(n)] for n in numbers[:, 4]], pa.list_(pa.string())),
            "real": pa.array([float("nan") if n % 4 == 0 else n / 7 for n in numbers[:, 0]], pa.float32()),
            "flag": pa.array(numbers[:, 1] > 0),
            "empty": pa.nulls(count, pa.string()),
        }
    )


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 40])
def test_it_is_the_digest_of_pythons_words(count, monkeypatch):
    monkeypatch.setattr(fingerprint, "BLOCK", 8)
    table = every_type(count)
    assert hash_cells(table) == spelt(table)
    assert hash_cells(table.select(table.column_names[::-1])) == spelt(table)


def test_chunks_and_slices_do_not_count(monkeypatch):
    monkeypatch.setattr(fingerprint, "BLOCK", 8)
    table = every_type(30)
    chunked = pa.concat_tables([table.slice(0, 3), table.slice(3, 0), table.slice(3, 20), table.slice(23)])
    assert hash_cells(chunked) == spelt(table)
    assert hash_cells(table.slice(5, 11)) == spelt(table.slice(5, 11)) != spelt(table)


def test_the_card_holds_that_of_the_manifest_it_was_written_with(toy_shards):
    manifest = toy_shards()
    assert manifest.card["rows_sha256"] == manifest.fingerprint() == spelt(manifest.table)
