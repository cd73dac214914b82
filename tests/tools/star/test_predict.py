"""New photographs against a gallery: matches are those of the stored embeddings, decisions those of the threshold."""

import csv
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tarpon.tools import cli
from tarpon.tools.star.matching import COLUMNS
from tarpon.train.tasks.star import export
from tarpon.train.tasks.star.metrics.embeddings import load_embeddings
from tarpon.train.tasks.star.metrics.open_set import Novelty


@pytest.fixture(scope="module")
def photographs(star_run, tmp_path_factory):
    """Six packed photographs of test under other names, a turned one, one upside down, and two that are none."""
    folder = tmp_path_factory.mktemp("photographs") / "new"
    (folder / "deep").mkdir(parents=True)
    sources = sorted(star_run.shards.table.filter(star_run.shards.table["split"].to_numpy() == "test")["source"].to_pylist())
    taken = {}
    for place, source in enumerate(sources[:6]):
        name = f"{'deep/' if place % 2 else ''}photo_{place + 9}{source[source.rfind('.') :]}"
        shutil.copy(star_run.lab / source, folder / name)
        taken[name] = source
    with Image.open(star_run.lab / sources[0]) as picture:
        picture.transpose(Image.Transpose.ROTATE_180).convert("RGBA").save(folder / "half turn.png")
    (folder / "bad.jpg").write_text("no image")
    (folder / "deep" / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("passed over")
    return folder, taken


@pytest.fixture(scope="module")
def predict(star_run, photographs):
    """(out, options...) -> exit status, embeddings table, matches rows."""

    def go(out, *options, images=photographs[0], checkpoint=star_run.folder / export.NAME):
        words = [f"--checkpoint={checkpoint}", f"--images={images}", f"--out={out}", "--threads=1", "--batch=4"]
        status = cli.main(["predict", "star", *words, *options])
        embeddings, matches = out / "embeddings.parquet", out / "matches.csv"
        rows = list(csv.DictReader(matches.open())) if matches.exists() else None
        return status, pq.read_table(embeddings) if embeddings.exists() else None, rows

    return go


@pytest.fixture(scope="module")
def matched(predict, star_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("matched") / "out"
    return out, *predict(out, f"--gallery={star_run.shards.root}")


def vectors(table, name="embedding"):
    return np.array(table[name].to_pylist())


def novelty_of(checkpoint):
    return Novelty(**export.load(checkpoint)["novelty"])


def test_every_readable_photograph_is_there_once_in_natural_order(matched, photographs):
    _, status, table, rows = matched
    assert status == 0
    names = table["file"].to_pylist()
    assert set(names) == {*photographs[1], "half turn.png"}
    assert [re.search(r"\d+|half", name)[0] for name in names] == ["10", "12", "14", "half", "9", "11", "13"]
    assert table["row"].to_pylist() == sorted(table["row"].to_pylist())
    assert [row["file"] for row in rows[::5]] == names
    assert tuple(rows[0]) == COLUMNS
    assert [row["rank"] for row in rows[:5]] == ["1", "2", "3", "4", "5"]


def test_matches_are_those_of_the_stored_embeddings(matched, star_run):
    out, _, table, rows = matched
    (kept,) = out.glob("gallery_*.parquet")
    gallery = pq.read_table(kept)
    assert len(gallery) == len(star_run.shards)
    similarity = vectors(table) @ vectors(gallery).T  # of length 1, all of them
    np.testing.assert_allclose(np.linalg.norm(vectors(table), axis=1), 1, atol=1e-5)
    for own, nearest in enumerate(np.argsort(-similarity, axis=1, kind="stable")[:, :5]):
        told = rows[5 * own : 5 * own + 5]
        np.testing.assert_allclose([float(row["similarity"]) for row in told], similarity[own, nearest], atol=1e-5)
        assert told[0]["gallery_picture"] == gallery["picture"][int(nearest[0])].as_py()
        assert told[0]["identity"] == gallery["identity"][int(nearest[0])].as_py()


def test_a_photograph_of_the_gallery_is_its_own_nearest(matched, photographs):
    _, _, _, rows = matched
    first = {row["file"]: row for row in rows if row["rank"] == "1"}
    for name, source in photographs[1].items():
        assert first[name]["gallery_picture"] == source
        assert float(first[name]["similarity"]) == pytest.approx(1, abs=1e-4)


def test_embeddings_are_those_of_the_run_s_own_evaluation(matched, star_run, photographs):
    _, _, table, _ = matched
    own = load_embeddings(star_run.folder / "predictions" / "test.parquet")
    place = {source: row for row, source in enumerate(star_run.shards.table["source"].to_pylist())}
    stored = dict(zip(own.row.tolist(), own.embedding, strict=True))
    checked = 0
    for name, vector in zip(table["file"].to_pylist(), vectors(table), strict=True):
        if name in photographs[1]:
            np.testing.assert_allclose(vector, stored[place[photographs[1][name]]], atol=1e-4)
            checked += 1
    assert checked == 6


def test_decisions_follow_the_threshold_of_the_checkpoint(matched, predict, star_run, tmp_path):
    _, _, _, rows = matched
    best = np.array([float(row["similarity"]) for row in rows if row["rank"] == "1"])
    middle = float(np.sort(best)[0] + 1e-4)  # the turned photograph alone lies below
    held = torch.load(star_run.folder / export.NAME, weights_only=True)
    held["novelty"] |= {"threshold": middle, "slope": -30.0, "intercept": 29.0}
    torch.save(held, tmp_path / "other.pth")
    _, _, told = predict(tmp_path / "out", f"--gallery={star_run.shards.root}", "--top=1", checkpoint=tmp_path / "other.pth")
    assert [row["decision"] for row in told] == ["new" if value < middle else "known" for value in best]
    assert {row["decision"] for row in told} == {"new", "known"}
    expected = novelty_of(tmp_path / "other.pth").probability(best)
    np.testing.assert_allclose([float(row["new_animal"]) for row in told], expected, atol=1e-3)


def test_what_validation_could_not_teach_is_left_empty_and_said(predict, star_run, tmp_path, capsys):
    held = torch.load(star_run.folder / export.NAME, weights_only=True)
    torch.save(held | {"novelty": None}, tmp_path / "other.pth")
    status, _, rows = predict(tmp_path / "out", f"--gallery={star_run.shards.root}", checkpoint=tmp_path / "other.pth")
    assert status == 0
    assert {row[name] for row in rows for name in ("new_animal", "decision")} == {""}
    assert "validation of this run could not teach it" in capsys.readouterr().out


def test_a_second_call_takes_the_kept_gallery_and_says_the_same(matched, predict, star_run, tmp_path):
    out, _, _, rows = matched
    shutil.copytree(out, tmp_path / "out")
    (kept,) = (tmp_path / "out").glob("gallery_*.parquet")
    moved = pq.read_table(kept)
    named = moved.set_column(0, "identity", [[f"kept {i}" for i in range(len(moved))]])
    pq.write_table(named.replace_schema_metadata(moved.schema.metadata), kept)
    written = kept.stat().st_mtime_ns
    _, _, again = predict(tmp_path / "out", f"--gallery={star_run.shards.root}")
    assert kept.stat().st_mtime_ns == written
    assert all(row["identity"].startswith("kept ") for row in again)
    same = [name for name in COLUMNS if name != "identity"]
    assert [[row[name] for name in same] for row in again] == [[row[name] for name in same] for row in rows]
    predict(tmp_path / "out", f"--gallery={star_run.shards.root}", "--splits=train")
    assert len(list((tmp_path / "out").glob("gallery_*.parquet"))) == 2  # another gallery


def test_mirror_images_match_by_themselves_and_are_stored_beside(predict, star_run, tmp_path):
    out = tmp_path / "out"
    _, table, rows = predict(out, f"--gallery={star_run.shards.root}", "--flips")
    assert set(table.column_names) == {"row", "file", "embedding", "embedding_flips"}
    (kept,) = out.glob("gallery_*.parquet")
    similarity = vectors(table, "embedding_flips") @ vectors(pq.read_table(kept), "embedding_flips").T
    np.testing.assert_allclose([float(row["similarity"]) for row in rows[::5]], similarity.max(1), atol=1e-5)
    plain = (vectors(table) @ vectors(pq.read_table(kept)).T).max(1)
    novelty = novelty_of(star_run.folder / export.NAME)
    np.testing.assert_allclose([float(row["new_animal"]) for row in rows[::5]], novelty.probability(plain), atol=1e-3)


def test_a_folder_by_animal_is_a_gallery_too(predict, star_run, photographs, tmp_path, capsys):
    known = tmp_path / "known"
    for name in photographs[1]:
        (known / f"animal {name[-6]}").mkdir(parents=True, exist_ok=True)
        shutil.copy(photographs[0] / name, known / f"animal {name[-6]}" / name.rpartition("/")[2])
    (known / "animal 9").mkdir(exist_ok=True)
    (known / "animal 9" / "broken.jpg").write_text("no image")
    told = [predict(tmp_path / "out", f"--gallery={known}", "--top=3")[2] for _ in range(2)]
    assert told[0] == told[1]
    assert capsys.readouterr().out.count("gallery: animal 9/broken.jpg") == 2
    first = {row["file"]: row for row in told[0] if row["rank"] == "1"}
    for name in photographs[1]:
        assert first[name]["gallery_picture"].endswith(name.rpartition("/")[2])
        assert first[name]["identity"] == first[name]["gallery_picture"].partition("/")[0]
        assert float(first[name]["similarity"]) == pytest.approx(1, abs=1e-4)


def test_without_a_gallery_there_are_embeddings_alone_and_the_unreadable_are_named(predict, tmp_path, capsys):
    status, table, rows = predict(tmp_path / "out")
    assert (status, len(table), rows) == (0, 7, None)
    said = capsys.readouterr().out
    assert re.search(r"^bad\.jpg +not an image", said, flags=re.M)
    assert re.search(r"deep/empty\.jpg +the file is empty", said)
    assert "7 of 9 photographs" in said


def test_where_nothing_can_be_read_the_status_is_1(predict, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"")
    assert predict(tmp_path / "out", images=tmp_path / "bad") == (1, None, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--top=0"], "top=0"),
        (["--images=nowhere"], "nowhere: no such folder"),
        (["--checkpoint=nowhere.pth"], "nowhere.pth: no such checkpoint"),
        (["--gallery=nowhere"], "nowhere: no such folder"),
        (["--gallery=SHARDS", "--splits=tests"], "tests is none of train, val, test"),
        (["--gallery=SHARDS", "--splits="], "give other --splits"),
    ],
)
def test_mistakes_are_one_line(predict, star_run, tmp_path, capsys, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    words = [word.replace("SHARDS", star_run.shards.root) for word in options]
    status, table, _ = predict(tmp_path / "out", *words)
    assert (status, table) == (2, None)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tarpon: ")]
    assert len(lines) == 1
    assert said in lines[0]


def test_other_ways_have_files_of_their_own_beside_plain_search(matched, predict, star_run, photographs, tmp_path, capsys):
    pytest.importorskip("cv2")
    words = (f"--gallery={star_run.shards.root}", "--expand=3", "--rerank", "--local=4")
    _, _, rows = predict(tmp_path / "out", *words)
    said = capsys.readouterr()
    assert rows == matched[3]  # matches.csv is plain search's, whatever else is asked
    told = {}
    for name in ("expanded", "reranked", "local"):
        told[name] = list(csv.DictReader((tmp_path / "out" / f"matches_{name}.csv").open()))
        assert [(row["file"], row["rank"]) for row in told[name]] == [(row["file"], row["rank"]) for row in rows]
        assert re.search(rf"matches_{name}\.csv: .* is the nearest of \d of 7 photographs", said.out)
    assert "28 pairs of photographs compared by local features in" in said.err
    plain = {row["file"]: [] for row in rows}
    for row in rows:
        plain[row["file"]].append(row["gallery_picture"])
    local = {row["file"]: row for row in told["local"] if row["rank"] == "1"}
    for name, source in photographs[1].items():  # the same photograph shares every feature
        assert local[name]["gallery_picture"] == source
        moved = [row["gallery_picture"] for row in told["local"] if row["file"] == name]
        assert set(moved[:4]) == set(plain[name][:4])
        assert moved[4:] == plain[name][4:]


def test_another_way_without_a_gallery_is_refused(predict, tmp_path, capsys):
    assert predict(tmp_path / "out", "--rerank")[0] == 2
    assert "give --gallery" in capsys.readouterr().err
