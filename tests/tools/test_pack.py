"""The head of every `tarpon pack KIND`: what is printed of faults, of nothing, and of a split that fails; the exit status."""

from dataclasses import replace

import pytest

from tarpon.shards.quarantine import Fault, read_faults
from tarpon.shards.source import Scan
from tarpon.shards.sources.mouse.source import MOUSE
from tarpon.shards.sources.mouse.units import MouseSource
from tarpon.tools import pack


def faults(count: int) -> list[Fault]:
    return [
        Fault(file=f"a{number}.csv", reason=f"{number} rows; a trial of 360 frames has 360", row=number)
        for number in range(count)
    ]


def test_faults_are_grouped_by_reason_with_counts():
    lines = pack.quarantine([*faults(57), Fault(file="b.mp4", reason="no video stream")])
    assert lines[0] == "Not packed (one a line in quarantine.jsonl):"
    assert [line.split()[0] for line in lines[2:]] == ["57", "1"]
    assert "a0.csv row 0, a1.csv row 1, a2.csv row 2 and 54 more" in lines[2]
    assert "b.mp4" in lines[3]
    assert pack.quarantine([]) == []


def test_many_kinds_are_cut_and_counted():
    kinds = [Fault(file="a", reason=f"reason {chr(97 + n // 26)}{chr(97 + n % 26)}") for n in range(pack.KINDS + 5)]
    lines = pack.quarantine(kinds)
    assert lines[-1] == "... and 5 more kinds"
    assert len(lines) == pack.KINDS + 3


def listing(units: list, found: list[Fault]):
    return replace(MOUSE, scan=lambda *_: Scan(units, found))


def run(source, tmp_path) -> int:
    return pack.run(
        source,
        (tmp_path / "lab",),
        options=MouseSource(pose="none"),
        out=str(tmp_path / "out"),
        split=(1, 0, 0),
        seed=0,
        workers=1,
    )


def test_an_empty_listing_tells_its_likely_causes(tmp_path, capsys):
    assert run(listing([], []), tmp_path) == 1
    assert f"No samples found in {tmp_path / 'lab'}. Likely causes: the videos are in another folder" in capsys.readouterr().out


def test_where_all_is_in_quarantine_the_commonest_reason_is_blamed(tmp_path, capsys):
    class Unit:
        def name(self):
            return "m.mp4"

        fingerprint = name

        def size(self):
            return 1

        path = "nowhere.mp4"

    source = replace(listing([Unit()], faults(4)), make=lambda unit: iter(()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "pack", lambda *_, **__: (None, faults(4)))
        assert run(source, tmp_path) == 1
    said = capsys.readouterr().out
    assert "No samples found" in said
    assert "4 in quarantine, 4 of them as in: 0 rows; a trial of 360 frames has 360\n" in said
    assert "names" not in said


def test_where_the_split_fails_the_faults_are_shown_first_and_stay(mouse_lab, tmp_path, capsys):
    from tarpon.tools import cli

    (tmp_path / "Videos").mkdir()
    for file in sorted((mouse_lab / "Videos").iterdir()):
        if file.name.startswith(sorted(p.stem for p in (mouse_lab / "Videos").glob("*.mp4"))[0]):
            (tmp_path / "Videos" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "Videos" / "broken.mp4").write_bytes(b"no video")
    words = ["pack", "mouse", "--videos", f"{tmp_path}/Videos", "--out", f"{tmp_path}/out", "--pose", "none", "--workers", "1"]
    assert cli.main([*words, "--codec", "mjpeg", "--short_side", "32"]) == 2
    said = capsys.readouterr()
    assert "broken.mp4" in said.out
    assert "cannot fill train, val, test" in said.err
    assert [fault.file for fault in read_faults(tmp_path / "out" / "quarantine.jsonl")] == ["broken.mp4"]


def test_remarks_stand_apart_from_what_was_not_packed():
    faults = [
        Fault(file="a.csv", reason="no body part 'nose'"),
        Fault(file="b.csv", reason="1 of 40 rows have a likelihood outside of 0 to 1", packed=True),
    ]
    lines = pack.quarantine(faults)
    first, second = (
        next(i for i, line in enumerate(lines) if line.startswith(head)) for head in ("Not packed", "Packed, with")
    )
    assert first < second
    assert any("a.csv" in line for line in lines[first:second])
    assert any("b.csv" in line for line in lines[second:])
