"""`tarpon pack star`, `tarpon pack wildlife`, and lint and look of what they pack: what is printed and the exit status."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.tools import cli, lint
from tarpon.tools.star import look

ANIMALS = {"s1": 3, "s2": 2, "s3": 1, "s4": 5}  # individual -> sessions


def draw(path: Path, seed: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)).save(buffer, "JPEG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


@pytest.fixture(scope="module")
def stars(tmp_path_factory) -> Path:
    """star_dataset of four animals, two pictures a session, one undated folder and one broken picture."""
    root = tmp_path_factory.mktemp("lab") / "star_dataset"
    for number, (name, sessions) in enumerate(ANIMALS.items()):
        for session in range(sessions):
            for picture in range(2):
                draw(root / f"PWS/{name}/{session + 1}_15_2023_dive/{picture}.jpg", 100 * number + 10 * session + picture)
    draw(root / "PWS/s3/PWS_2023_JU/x.jpg", 999)
    (root / "PWS/s1/1_15_2023_dive/bad.jpg").write_bytes(b"no")
    return root


@pytest.fixture(scope="module")
def shards(stars, tmp_path_factory) -> Manifest:
    out = tmp_path_factory.mktemp("shards") / "star"
    assert cli.main(["pack", "star", "--root", str(stars), "--out", str(out), "--workers", "1"]) == 0
    return open_manifest(out, kind="reid")


@pytest.fixture
def wild(tmp_path) -> Path:
    root, lines = tmp_path / "wild", ["identity,path,dataset,split"]
    for number in range(24):
        dataset = "SeaStarReID2023" if number < 6 else "ATRW"
        draw(root / f"images/{number}.jpg", number)
        lines.append(f"{dataset}_{number // 6},images/{number}.jpg,{dataset},{'test' if number % 6 == 5 else 'train'}")
    (root / "metadata.csv").write_text("\n".join(lines))
    return root


def test_stars_are_packed_and_what_is_undated_is_listed(stars, shards, capsys):
    assert cli.main(["pack", "star", "--root", str(stars), "--out", shards.root, "--workers", "1"]) == 0  # finished: told again
    text = capsys.readouterr().out
    assert "23 packed, 1 in quarantine" in text
    assert "not an image of a known format" in text
    assert any(line.split() == ["PWS/s3/PWS_2023_JU", "1"] for line in text.splitlines())
    assert "each test picture is searched in the train and val pictures" in text
    assert "4 identities: 2 asked in validation, 3 in test; 1 distractors, 0 novel" in text
    assert "read as <dataset>/<individual>/<outing>/<image>" in text
    card = shards.card
    assert (card["identities"], card["evaluable"], card["distractors"], card["stars"]) == (4, {"val": 2, "test": 3}, 1, True)
    assert card["undated"] == ["PWS/s3/PWS_2023_JU"]
    assert card["settings"]["train_ratio"] == 0.8
    assert card["splits"] == {"train": 2 + 2 + 3 + 6, "val": 4, "test": 6}


def test_lint_finds_them_sound(shards):
    assert lint.lint(shards.root, workers=1) == []


def test_look_tells_who_is_there(shards, tmp_path, capsys):
    assert cli.main(["look", shards.root, "--out", str(tmp_path / "sheet.png"), "--frames", "12"]) == 0
    text = capsys.readouterr().out
    assert any(line.split() == ["PWS", "4", "23", "13", "4", "6"] for line in text.splitlines())
    assert "dates: 2023-01-15 to 2023-05-15, 1 pictures undated" in text
    assert "an identity is seen over 45 days (median; at most 120)" in text
    assert "Undated" in text
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 1000
    picks = look.pick_rows(shards, count=12, seed=0)
    assert len(set(picks)) == 12
    first = [shards.value(row, "identity") for row in picks[:6]]
    assert len(set(first)) == 1
    assert {shards.value(row, "split") for row in picks[:6]} == {"train", "val", "test"}


def test_wildlife_leaves_the_stars_out(wild, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["pack", "wildlife", "--root", str(wild), "--workers", "1", "--longest-side", "64"]
    assert cli.main([*words, "--out", str(out), "--exclude", "ATRW"]) == 1
    assert "No samples found" in capsys.readouterr().out
    assert cli.main([*words, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "18 packed, 0 in quarantine" in text
    assert "6 pictures of sea stars are left out" in text
    card = open_manifest(out, kind="reid").card
    assert (card["stars"], card["datasets"], card["identities"], card["evaluable"]["test"]) == (False, ["ATRW"], 3, 3)
    assert card["splits"]["test"] == 3
    assert lint.lint(str(out), workers=1) == []


def test_nothing_to_pack_is_status_1_with_likely_causes(tmp_path, capsys):
    (tmp_path / "x").mkdir()
    assert cli.main(["pack", "star", "--root", str(tmp_path / "x"), "--out", str(tmp_path / "out")]) == 1
    assert "one folder too high or too low" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "part"), [
    (["star", "--root", "nowhere"], "nowhere: no such folder"),
    (["star", "--split", "given", "--train_ratio", "0.7", "--seed", "1"], "train_ratio, seed would do nothing"),
    (["star", "--split", "given"], "name it with --metadata"),
    (["star", "--metadata", "none.csv"], "none.csv: no such file"),
    (["star", "--dates", "none.csv"], "none.csv: no such file"),
    (["star", "--open-set", "1"], "open_set=1"),
    (["wildlife"], "metadata.csv: no such file"),
    (["wildlife", "--train-ratio", "0.7"], "train_ratio would do nothing"),
    (["wildlife", "--include", "SeaStarReID2023"], "--keep_seastar"),
    (["wildlife", "--split-strategy", "best"], "must be one of original"),
])  # fmt: skip
def test_mistakes_are_one_line_and_status_2(words, part, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [] if "--root" in words else ["--root", "."]
    assert cli.main(["pack", *words, *given, "--out", "out"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert part in line


def test_dates_that_may_be_months_are_asked_about_and_the_choice_is_printed(tmp_path, capfd):
    for seed, day in enumerate(("3_5_2024", "4_5_2024", "6_7_2024")):
        draw(tmp_path / f"set/EU/s1/{day}/a.jpg", seed)
    words = ["pack", "star", "--root", str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert cli.main(words) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("tarpon: ")]
    assert "dates of EU: '3_5_2024' and all others (3 in all)" in line
    assert not (tmp_path / "out").exists()
    assert cli.main([*words, "--dates", "day_first"]) == 0
    assert "note: dates of EU are read day first: as --dates says" in capfd.readouterr().out
    assert open_manifest(tmp_path / "out", kind="reid").card["notes"]
