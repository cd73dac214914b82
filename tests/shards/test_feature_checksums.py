"""No byte of a feature cache can change unnoticed, and what is noticed is named."""

import json

import numpy as np
import pyarrow as pa
import pytest

from tarpon.shards import features
from tarpon.shards.features import CARD, FEATURES, LABELS, FeatureCache, damage, open_features
from tarpon.tools import lint
from tarpon.tools.lint_features import examine_features

COUNT, DIM, CHUNK = 50, 6, 8


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "CHUNK_ROWS", CHUNK)
    return write(tmp_path / "cache")


def write(out, *, first_label="a", **card):
    labels = pa.table(
        {
            "key": [f"k{i}" for i in range(COUNT)],
            "group": ["g"] * COUNT,
            "split": ["train"] * 40 + ["val"] * 10,
            "family": [first_label] + ["b"] * 49,
        }
    )
    made = FeatureCache(out=out, card={"count": COUNT, "dim": DIM, "dtype": "fp32", "classes": {"families": ["a", "b"]}} | card)
    made.begin()
    vectors = np.random.default_rng(1).normal(size=(COUNT, DIM))
    for chunk in made.chunks():
        made.write(chunk, vectors[chunk.start : chunk.stop])
    made.finish(labels)
    return out


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_sound_cache_opens_and_is_sound(cache, capsys):
    assert open_features(cache).remark is None
    assert lint.run(str(cache)) == 0
    assert "feature cache, 50 samples" in capsys.readouterr().out


@pytest.mark.parametrize("row", [0, 7, 8, 23, 49])
def test_a_flipped_bit_of_a_vector_names_its_chunk(cache, row, capsys):
    offset = json.loads((cache / CARD).read_text())["checksums"]["offset"]
    flip(cache / FEATURES, offset + row * DIM * 4 + 2)
    first, last = row // CHUNK * CHUNK, min(row // CHUNK * CHUNK + CHUNK, COUNT) - 1
    with pytest.raises(ValueError, match=rf"features.arrow: chunk {row // CHUNK} \(rows {first} to {last}, .*checksum differs"):
        open_features(cache)
    assert lint.run(str(cache)) == 1
    assert f"rows {first} to {last}" in capsys.readouterr().out


def noticed(cache) -> bool:
    """The damage is named."""
    try:
        return bool(list(damage(cache, features.read_card(cache))))
    except ValueError as error:
        return str(cache) in str(error)


def test_every_single_byte_counts(cache):
    """Of all three files, one after another; the cache is put back each time."""
    for name in (FEATURES, LABELS, CARD):
        path, whole = cache / name, (cache / name).read_bytes()
        for place in np.linspace(0, len(whole) - 1, 60).astype(int):
            flip(path, place)
            assert noticed(cache) or (name == CARD and features.read_card(cache) == json.loads(whole)), (name, place)
            path.write_bytes(whole)
    open_features(cache)


@pytest.mark.parametrize("name", [FEATURES, LABELS])
def test_what_is_cut_short_or_gone_is_named(cache, name):
    whole = (cache / name).read_bytes()
    for length in (0, 20, len(whole) // 2, len(whole) - 1):
        (cache / name).write_bytes(whole[:length])
        with pytest.raises(ValueError, match=name):
            open_features(cache)
    (cache / name).unlink()
    with pytest.raises(ValueError, match=f"{name}: is missing"):
        open_features(cache)


def test_files_of_another_cache_are_refused(cache, tmp_path):
    other = write(tmp_path / "other", first_label="b")
    (cache / LABELS).write_bytes((other / LABELS).read_bytes())
    with pytest.raises(ValueError, match=r"labels\.parquet: checksum differs"):
        open_features(cache)


def test_other_labels_or_vectors_are_another_fingerprint(tmp_path):
    one, same, labels = (
        open_features(write(tmp_path / name, first_label=label)) for name, label in (("a", "a"), ("b", "a"), ("c", "b"))
    )
    assert one.fingerprint() == same.fingerprint() != labels.fingerprint()


def test_a_cache_without_checksums_opens_with_a_remark(cache, capsys):
    card = json.loads((cache / CARD).read_text())
    del card["checksums"]
    (cache / CARD).write_text(json.dumps(card))
    assert "no checksums" in open_features(cache).remark
    assert lint.run(str(cache)) == 0
    assert "without checksums" in capsys.readouterr().out


def test_lint_looks_at_what_is_in_a_cache_too(cache):
    card = json.loads((cache / CARD).read_text())
    content = bytearray((cache / FEATURES).read_bytes())
    at = card["checksums"].pop("offset") + 9 * DIM * 4
    content[at : at + 4] = np.float32(np.nan).tobytes()
    (cache / FEATURES).write_bytes(content)
    del card["checksums"]
    (cache / CARD).write_text(json.dumps(card))
    (finding,) = examine_features(str(cache))[2]["vectors"]
    assert "the first is row 9" in finding.what


def test_an_unfinished_cache_is_told(cache):
    (cache / CARD).rename(cache / "parts.json")
    (cache / "parts").mkdir()
    (cache / "parts.json").rename(cache / "parts" / CARD)
    with pytest.raises(ValueError, match="the extraction did not finish"):
        lint.run(str(cache))
