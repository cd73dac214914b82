"""The console script: one clear line and exit status 2 for mistakes, never a traceback."""

import json

import pytest

from tarpon.shards.manifest import open_manifest
from tarpon.tools import cli
from tarpon.tools.task import load


def said(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.strip()]


def test_overview_lists_every_command(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert all(f"tarpon {name}" in text for name in cli.COMMANDS)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_loads_and_explains_itself(name, capsys):
    assert callable(load(cli.COMMANDS[name].target))
    assert cli.main([*name.split(), "--help"]) == 0
    assert f"tarpon {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["packk"], "no command"),
        (["pack", "bird"], "pack mouse"),
        (["pack", "mouse"], "videos"),
        (["pack", "mouse", "--videos", "a", "--out", "b", "--codek", "vp9"], "codek"),
        (["pack", "mouse", "--videos", "nowhere", "--out", "b"], "nowhere: no such folder"),
        (["pack", "mouse", "--videos", ".", "--out", "b", "--codec", "divx"], "vp9, mjpeg, h264, hevc"),
        (["pack", "mouse", "--videos", ".", "--out", "b", "--gop", "many"], "gop"),
        (["pack", "mouse", "--videos", ".", "--out", "b", "--split", "1,2"], "three numbers"),
        (["pack", "mouse", "--videos", ".", "--out", "b", "--group", "("], "regular expression"),
        (["lint", "nowhere"], "nowhere"),
        (["look"], "SHARDS"),
        (["report", "nowhere"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
        (["predict", "mouse", "--checkpoint", "nowhere.pt", "--videos", ".", "--out", "o"], "nowhere.pt"),
    ],
)
def test_mistakes_are_one_line_and_status_2(words, part, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    lines = said(capsys)
    assert len(lines) == 1
    assert part in lines[0]


def test_hyphens_and_underscores_are_the_same_and_flags_need_no_value(tmp_path, capsys):
    assert (
        cli.main(["demo", "mouse", "--out", str(tmp_path / "lab"), "--videos=2", "--size", "64", "--workers", "1", "--faults"])
        == 0
    )
    out = capsys.readouterr().out
    assert "videos, " in out
    assert "fault blank_action" in out
    assert (
        cli.main(
            [
                "pack",
                "mouse",
                "--videos",
                str(tmp_path / "lab/Videos"),
                "--annotations",
                str(tmp_path / "lab/Annotations"),
                "--out",
                str(tmp_path / "shards"),
                "--short-side",
                "64",
                "--split",
                "1,0,0",
                "--workers",
                "1",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "Action is blank" in out
    manifest = open_manifest(tmp_path / "shards")
    assert set(manifest.column("clip_width")) == {64}
    assert f"{len(manifest)} packed" in out
    assert f"Note: {len(manifest)} of {len(manifest)} clips are too small for a GPU's decoder: 64 x 64 pixels" in out
    assert "A CPU trains on them; for a GPU pack again with a larger --short_side." in out


def test_nothing_to_pack_is_status_1_with_likely_causes(tmp_path, capsys):
    (tmp_path / "Videos").mkdir()
    (tmp_path / "Videos" / "a.mp4").write_bytes(b"no video")
    (tmp_path / "Videos" / "aDLC_x.csv").write_text("")
    assert cli.main(["pack", "mouse", "--videos", str(tmp_path / "Videos"), "--out", str(tmp_path / "shards")]) == 1
    out = capsys.readouterr().out
    assert "No samples found" in out
    assert "a.mp4" in out
    assert not (tmp_path / "shards" / "manifest.parquet").exists()


def test_shards_of_another_schema_version_are_refused(tmp_path, capsys, mouse_shards):
    import shutil

    copy = tmp_path / "old"
    shutil.copytree(mouse_shards.root, copy)
    card = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(card | {"schema_version": 0}))
    assert cli.main(["lint", str(copy)]) == 2
    lines = said(capsys)
    assert len(lines) == 1
    assert "schema version 0" in lines[0]
