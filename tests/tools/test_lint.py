"""Every kind of damage is found by the check that is meant to find it, and by no check that is not."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tarpon.shards.manifest import open_manifest, write_manifest
from tarpon.shards.quarantine import Fault, write_faults
from tarpon.shards.sources.mouse.cutting import npy
from tarpon.tools import lint


@pytest.fixture
def sound(mouse_shards):
    return Path(mouse_shards.root)


@pytest.fixture
def shards(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "shards")


def found(shards):
    return {finding.check for finding in lint.lint(str(shards), workers=1)}


def change(shards, row, **values):
    """Rewrite cells of one manifest row."""
    table = pq.read_table(shards / "manifest.parquet")
    for name, value in values.items():
        cells = table[name].to_pylist()
        cells[row] = value
        field = table.schema.field(name)
        table = table.set_column(table.column_names.index(name), field, pa.array(cells, field.type))
    pq.write_table(table, shards / "manifest.parquet")


def only(component, edit):
    """An edit of one component's content, as array or JSON or bytes."""

    def apply(name, content):
        if name.partition(".")[2] != component:
            return content
        if component.endswith(".npy"):
            return npy(edit(np.load(io.BytesIO(content))))
        return json.dumps(edit(json.loads(content))).encode() if component.endswith(".json") else edit(content)

    return apply


def test_a_sound_data_set_has_no_findings(sound):
    assert lint.lint(str(sound), workers=1) == []


def test_findings_do_not_depend_on_the_number_of_processes(shards, monkeypatch):
    monkeypatch.setattr(lint, "CHUNK", 2)  # several chunks even of this small set, so that the pool has work
    with open(sorted(shards.glob("*.tar"))[1], "r+b") as file:
        file.seek(600)
        file.write(bytes(100))
    alone = lint.lint(str(shards), workers=1)
    assert alone
    assert alone == lint.lint(str(shards), workers=2)


def test_a_rewritten_tar_with_a_truthful_manifest_is_sound(shards, rewrite_tar):
    """The other tests change content through `rewrite_tar`; by itself it must leave nothing to find."""
    rewrite_tar(shards, lambda name, content: content)
    assert found(shards) == set()


@pytest.mark.parametrize(("component", "edit", "checks"), [
    ("actions.npy", lambda a: np.where(np.arange(len(a)) == 7, (a + 1) % 8, a).astype(np.int8), {"labels"}),
    ("actions.npy", lambda a: a.astype(np.int16), {"arrays"}),
    ("keypoints.npy", lambda a: a[:-1], {"arrays"}),
    ("keypoints.npy", lambda a: np.where(a > 40, np.inf, a).astype(np.float32), {"arrays"}),
    ("keypoints.npy", lambda a: a * np.float32([1, 1, 100]), {"points"}),
    ("keypoints.npy", lambda a: a + np.float32([5000, 0, 0]), {"points"}),
    ("keypoints.npy", lambda a: a * np.float32([np.nan, np.nan, 0]), {"points"}),
    ("proof.npy", lambda a: np.roll(a, 1, axis=0), {"frames"}),
    ("proof.npy", lambda a: a[:-1], {"arrays"}),
    ("meta.json", lambda m: m | {"trial": m["trial"] + 1}, {"meta"}),
    ("meta.json", lambda m: {k: v for k, v in m.items() if k != "fps"}, {"meta"}),
    ("clip.mp4", lambda b: b"\0" * len(b), {"frames"}),
])  # fmt: skip
def test_wrong_content_under_a_right_checksum(shards, rewrite_tar, component, edit, checks):
    rewrite_tar(shards, only(component, edit))
    assert found(shards) == checks


@pytest.mark.parametrize(
    ("values", "check"),
    [
        ({"stimulus_frame": 400}, "stimulus"),
        ({"source": "a_labeled.mp4"}, "source"),
        ({"actions": [9] * 360}, "labels"),
    ],
)
def test_wrong_data_that_an_earlier_version_took_is_found_by_its_own_check(shards, rewrite_tar, values, check):
    """In the tar as in the manifest: nothing contradicts anything."""
    row = open_manifest(shards).table.slice(0, 1).to_pylist()[0]
    values = {name: value[: row["frames"]] if name == "actions" else value for name, value in values.items()}
    rewrite_tar(shards, lambda name, content: _with(row["key"], values, name, content))
    change(shards, 0, **values)
    assert found(shards) == {check}


def _with(key: str, values: dict, name: str, content: bytes) -> bytes:
    """A component of the sample `key` that says `values`."""
    if name == f"{key}.meta.json":
        return json.dumps(json.loads(content) | {k: v for k, v in values.items() if k != "actions"}).encode()
    if name == f"{key}.actions.npy" and "actions" in values:
        return npy(np.array(values["actions"], np.int8))
    return content


def test_points_outside_of_the_frame_are_found(shards, rewrite_tar):
    """A video lying on its side in its file, packed as it lay: its track reaches beyond the frame."""
    rewrite_tar(shards, only("keypoints.npy", lambda a: (a * [1, 1.6, 1]).astype(np.float32)))
    assert found(shards) == {"points"}


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        ((7, 2, 2), 1.5, "a likelihood is 1.5 at frame 7, not in 0 to 1"),
        ((7, 2, 2), -0.5, "a likelihood is -0.5 at frame 7"),
        ((9, 1, 0), 5000, "1 frames have a point far outside the"),
        ((slice(None), slice(None), slice(0, 2)), np.nan, "no point in any frame"),
    ],
)
def test_impossible_points_are_named(shards, rewrite_tar, at, value, told):
    """What an earlier version packed as it stood in the pose file."""

    def edit(array):
        array = array.copy()
        array[at] = value
        return array

    rewrite_tar(shards, only("keypoints.npy", edit))
    assert any(told in finding.what for finding in lint.lint(str(shards), workers=1))


def test_a_flipped_bit_is_a_checksum_finding_naming_the_sample(shards):
    row = open_manifest(shards).table.slice(1, 1).to_pylist()[0]
    with open(shards / row["shard"], "r+b") as file:
        file.seek(row["keypoints_offset"] + 1000)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    (finding,) = lint.lint(str(shards), workers=1)
    assert finding.check == "checksums"
    assert row["key"] in finding.where
    assert "keypoints" in finding.what


def test_missing_and_cut_tars(shards):
    first, second, *_ = sorted(shards.glob("*.tar"))
    first.unlink()
    with open(second, "r+b") as file:
        file.truncate(second.stat().st_size // 2)
    findings = lint.lint(str(shards), workers=1)
    assert {f.where for f in findings if f.check == "tars"} == {first.name, second.name}
    assert any(f.check == "checksums" and f.where.startswith(second.name) for f in findings)
    assert not any(f.check == "checksums" and f.where.startswith(first.name) for f in findings)


@pytest.mark.parametrize(("values", "checks"), [
    ({"clip_offset": 0}, {"tars", "checksums"}),
    ({"split": "trian"}, {"splits", "card"}),
    ({"histogram": [1, 0, 0, 0, 0, 0, 0, 0]}, {"labels", "meta"}),
    ({"codec": "mjpeg"}, {"frames", "meta"}),
    ({"clip_width": 48}, {"frames", "meta"}),
    ({"key": "other"}, {"tars", "strangers"}),
    ({"fps": None}, {"columns"}),
])  # fmt: skip
def test_a_wrong_manifest_cell(shards, values, checks):
    change(shards, 0, **values)
    assert found(shards) == checks


def test_a_group_in_two_splits_and_a_source_in_two_groups_are_leaks(shards):
    table = open_manifest(shards).table
    row = table["split"].to_pylist().index("test")
    change(shards, row, split="train")
    leaks = [f.what for f in lint.lint(str(shards), workers=1) if f.check == "splits"]
    assert len(leaks) == 2
    assert all("a leak" in leak for leak in leaks)
    change(shards, row, group="renamed")  # the group is clean now, the file is still the same
    (leak,) = [f.what for f in lint.lint(str(shards), workers=1) if f.check == "splits"]
    assert "one source file under two names" in leak


def test_an_empty_split_is_found_unless_it_was_not_asked_for(shards):
    table = pq.read_table(shards / "manifest.parquet")
    kept = [i for i, split in enumerate(table["split"].to_pylist()) if split != "val"]
    pq.write_table(table.take(kept), shards / "manifest.parquet")
    assert [f.what for f in lint.lint(str(shards), workers=1) if f.check == "splits"] == ["the val split is empty"]
    card = json.loads((shards / "dataset.json").read_text())
    card["split"]["ratios"] = [0.8, 0, 0.2]
    (shards / "dataset.json").write_text(json.dumps(card))
    assert "splits" not in found(shards)


def test_what_the_manifest_does_not_know(shards):
    path = next(iter(sorted(shards.glob("*.tar"))))
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("late.txt"))
    assert found(shards) == {"strangers", "index"}
    path.with_suffix(".idx").unlink()
    assert any(f.where == f"{path.stem}.idx" and f.what == "is missing" for f in lint.lint(str(shards), workers=1))


def test_a_key_that_stands_twice(shards):
    table = pq.read_table(shards / "manifest.parquet")
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), shards / "manifest.parquet")
    assert {"keys", "card"} == found(shards)


def test_the_quarantine_is_counted(shards):
    write_faults(shards / "quarantine.jsonl", [Fault(file="a.csv", reason="blank")])
    assert found(shards) == {"quarantine"}
    write_faults(shards / "quarantine.jsonl", [Fault(file="a.csv", reason="3 frames have no point", packed=True)])
    assert found(shards) == set()  # a remark is no entry
    (shards / "quarantine.jsonl").write_text("nonsense\n")
    assert found(shards) == {"quarantine"}


def test_status_and_json_say_the_same(shards, capsys):
    assert lint.run(str(shards), json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert report["samples"] == len(open_manifest(shards))
    assert all(check == {"ok": True, "findings": []} for check in report["checks"].values())
    write_faults(shards / "quarantine.jsonl", [Fault(file="a.csv", reason="blank")])
    assert lint.run(str(shards), json=True) == 1
    report = json.loads(capsys.readouterr().out)
    assert [name for name, check in report["checks"].items() if not check["ok"]] == ["quarantine"]
    assert not report["ok"]
    assert lint.run(str(shards)) == 1
    assert "quarantine.jsonl: holds 1 entries" in capsys.readouterr().out


def test_shards_of_an_earlier_version_say_what_they_cannot_show(shards, tmp_path, capsys):
    assert lint.run(str(shards)) == 0
    assert "note: packed by an earlier Tarpon" in (told := capsys.readouterr().out)
    assert "turned videos" in told
    manifest = open_manifest(shards)
    write_manifest(shards, manifest.table, manifest.card)  # with checksums, as packed today
    assert lint.run(str(shards)) == 0
    assert "note:" not in capsys.readouterr().out


def test_what_is_no_data_set_is_refused(tmp_path, shards):
    with pytest.raises(ValueError, match="manifest"):
        lint.run(str(tmp_path))
    card = json.loads((shards / "dataset.json").read_text())
    (shards / "dataset.json").write_text(json.dumps(card | {"kind": "bird"}))
    with pytest.raises(ValueError, match="bird"):
        lint.run(str(shards))
