"""`tarpon demo fish` and `tarpon pack fish`: what is printed and the exit status."""

import pytest

from tarpon.shards.manifest import open_manifest
from tarpon.tools import cli


def test_demo_then_pack_then_lint(tmp_path, capsys):
    lab, out = tmp_path / "lab", tmp_path / "shards"
    assert (
        cli.main(["demo", "fish", "--out", str(lab), "--images", "48", "--families", "4", "--size", "64", "--workers", "1"])
        == 0
    )
    text = capsys.readouterr().out
    assert "48 images" in text
    assert f"next: tarpon pack fish --images {lab}/images --annotations {lab}/anns" in text
    words = ["pack", "fish", "--images", f"{lab}/images", "--annotations", f"{lab}/anns", "--out", str(out)]
    assert cli.main([*words, "--val-share", "0.2", "--workers", "1"]) == 0
    text = capsys.readouterr().out
    assert "48 packed, 7 in quarantine" in text
    assert "frames" not in text
    assert "no row in train.csv or test.csv" in text
    card = open_manifest(out, kind="fish").card
    assert card["split"]["ratios"] == [0.8, 0.2, 0]
    assert sum(card["splits"].values()) == 48
    assert cli.main(["lint", str(out)]) == 0


def test_nothing_to_pack_is_status_1_with_likely_causes(fish_lab, tmp_path, capsys):
    words = [
        "pack",
        "fish",
        "--images",
        f"{fish_lab}/images/Labridae",
        "--annotations",
        f"{fish_lab}/anns",
        "--out",
        str(tmp_path / "x"),
    ]
    assert cli.main(words) == 1
    out = capsys.readouterr().out
    assert "No samples found" in out
    assert "one folder too" in out
    assert "not in a family's folder" in out


@pytest.mark.parametrize(("words", "part"), [
    (["--images", "nowhere"], "nowhere: no such folder"),
    (["--order-column", "Ordo"], "NewOrder or Order"),
    (["--val-share", "1"], "val_share=1"),
    (["--short-side", "5"], "short_side=5"),
    (["--annotations", "."], "train.csv: no such file"),
])  # fmt: skip
def test_mistakes_are_one_line_and_status_2(words, part, fish_lab, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = ["pack", "fish", "--images", f"{fish_lab}/images", "--annotations", f"{fish_lab}/anns", "--out", "out"]
    assert cli.main([*base, *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert part in line
