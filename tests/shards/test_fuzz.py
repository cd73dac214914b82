"""Files changed at random places, with fixed seeds: what is read is what was written, or the file or sample at fault is named.

`TARPON_MUTATIONS=10000 pytest tests/shards/test_fuzz.py` tries that many instead of the usual ones.
"""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tarpon.shards import features
from tarpon.shards.features import FeatureCache, FeatureTable, open_features
from tarpon.shards.manifest import CARD, MANIFEST, Manifest, open_manifest, write_manifest
from tarpon.shards.npy import read_npy
from tarpon.shards.quarantine import BadSample
from tarpon.shards.reader import Reader

KINDS = ("mouse", "cells", "star", "fish")
MUTATIONS = int(os.environ.get("TARPON_MUTATIONS", "400"))  # over all kinds of data
EACH = -(-MUTATIONS // (len(KINDS) + 1))


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    """A bit of a byte, or a few."""
    changed = bytearray(content)
    for place in rng.integers(0, max(len(content), 1), rng.integers(1, 4)):
        if content:
            changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(0, len(content) + 1))]


def smear(content: bytes, rng: np.random.Generator) -> bytes:
    """A run of random bytes."""
    begin = int(rng.integers(0, len(content) + 1))
    return content[:begin] + rng.bytes(int(rng.integers(1, 200))) + content[begin + 100 :]


def move(content: bytes, rng: np.random.Generator) -> bytes:
    """Two parts change places: as many bytes, other order."""
    a, b = sorted(int(place) for place in rng.integers(0, len(content) + 1, 2))
    return content[b:] + content[a:b] + content[:a]


def empty(content: bytes, rng: np.random.Generator) -> bytes:
    return bytes(int(rng.integers(0, 2)))


CHANGES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (flip, flip, cut, smear, move, empty)


def mutate(folder: Path, names: list[str], rng: np.random.Generator) -> dict[str, bytes]:
    """Change a file of the folder, delete it, or let two change places; returns what they held."""
    name, other = (str(rng.choice(names)) for _ in range(2))
    held = {one: (folder / one).read_bytes() for one in {name, other}}
    what = int(rng.integers(0, 10))
    if what == 0:
        (folder / name).unlink()
    elif what == 1:
        (folder / name).write_bytes(held[other])
        (folder / other).write_bytes(held[name])
    else:
        (folder / name).write_bytes(CHANGES[int(rng.integers(len(CHANGES)))](held[name], rng))
    return held


def restore(folder: Path, held: dict[str, bytes]) -> None:
    for name, content in held.items():
        (folder / name).write_bytes(content)


def attempt(read: Callable[[], object]) -> object:
    """What is read, or the words of a ValueError; any other exception fails the test."""
    try:
        return read()
    except ValueError as error:
        return str(error)


def contents(manifest: Manifest) -> list[dict[str, bytes | str]]:
    """Component -> bytes of every row, or the words of what was told of it."""
    reader, found = Reader(manifest), []
    columns = [name.partition(".")[0] for name in manifest.card["components"]]
    for row in range(len(manifest)):
        told: dict[str, bytes | str] = {}
        for column in columns:
            try:
                told[column] = reader.read(row, column)
            except BadSample as error:
                told[column] = str(error)
        found.append(told)
    reader.close()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_changed_shards_give_the_same_data_or_name_what_is_wrong(kind, request, tmp_path):
    plain = request.getfixturevalue(f"{kind}_shards")
    folder = tmp_path / "shards"
    shutil.copytree(plain.root, folder)
    write_manifest(folder, plain.table, plain.card)
    whole = open_manifest(folder)
    sound = contents(whole)
    names = sorted([path.name for path in folder.glob("*.tar")] + [MANIFEST, CARD])
    refused = named = unharmed = 0
    for seed in range(EACH):
        rng = np.random.default_rng((seed, KINDS.index(kind)))
        held = mutate(folder, names, rng)
        manifest = attempt(lambda: open_manifest(folder))
        if isinstance(manifest, str):
            assert str(folder) in manifest, seed
            assert "\n" not in manifest, seed
            refused += 1
        else:
            assert manifest.table.equals(whole.table), seed
            assert manifest.card == whole.card, seed
            wrong = 0
            for row, (want, got) in enumerate(zip(sound, contents(manifest), strict=True)):
                for column, value in got.items():
                    if isinstance(value, str):
                        assert whole.value(row, "key") in value, seed
                        wrong += 1
                    else:
                        assert value == want[column], (seed, row, column)
            named, unharmed = named + (wrong > 0), unharmed + (wrong == 0)
        restore(folder, held)
    assert refused + named + unharmed == EACH
    assert refused > EACH // 10  # the mutations reach both kinds of files
    assert named > EACH // 10
    assert contents(open_manifest(folder)) == sound


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(features, "CHUNK_ROWS", 16)
    count, dim = 60, 12
    rng = np.random.default_rng(0)
    labels = pa.table(
        {
            "key": [f"k{i}" for i in range(count)],
            "group": [f"g{i % 7}" for i in range(count)],
            "split": ["train"] * 40 + ["val"] * 20,
            "family": [f"f{i % 5}" for i in range(count)],
        }
    )
    made = FeatureCache(out=tmp_path / "cache", card={"count": count, "dim": dim, "dtype": "fp32", "classes": {}})
    made.begin()
    for chunk in made.chunks():
        made.write(chunk, rng.normal(size=(len(chunk), dim)))
    made.finish(labels)
    return tmp_path / "cache"


def same(one: FeatureTable, other: FeatureTable) -> bool:
    return (
        np.array_equal(one.features, other.features)
        and np.array_equal(one.rows, other.rows)
        and one.labels.equals(other.labels)
        and one.card == other.card
    )


def test_a_changed_feature_cache_gives_the_same_data_or_names_what_is_wrong(cache):
    names = [features.FEATURES, features.LABELS, features.CARD]
    (cache / "whole").mkdir()
    for name in names:
        shutil.copy(cache / name, cache / "whole" / name)
    whole, refused = open_features(cache / "whole"), 0
    for seed in range(EACH):
        held = mutate(cache, names, np.random.default_rng((seed, 99)))
        found = attempt(lambda: open_features(cache))
        if isinstance(found, str):
            assert str(cache) in found, seed
            assert "\n" not in found, seed
            refused += 1
        else:
            assert same(found, whole), seed
        restore(cache, held)
    assert refused > EACH // 2
    assert same(open_features(cache), whole)


def test_a_changed_array_is_an_array_or_an_error():
    """Whatever its bytes are: nothing is allocated that they do not fill, and nothing but ValueError is raised."""
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).random((30, 6, 3)).astype(np.float32))
    whole, read = buffer.getvalue(), 0
    for seed in range(2000):
        rng = np.random.default_rng(seed)
        content = bytes(flip(whole[:130], rng)) + whole[130:] if seed % 2 else CHANGES[seed % len(CHANGES)](whole, rng)
        array = attempt(lambda content=content: read_npy(content))
        if isinstance(array, str):
            assert "\n" not in array
        else:
            assert array.nbytes <= len(content)
            read += 1
    assert 100 < read < 1900
