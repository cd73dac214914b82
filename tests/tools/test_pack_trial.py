"""What `tarpon doctor KIND` tries of a folder before anything is packed."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from tarpon.shards.quarantine import Fault
from tarpon.tools import cli, pack_trial
from tarpon.tools.pack_trial import choose_units, try_units


@dataclass(frozen=True)
class Unit:
    """A unit of so many frames, of which every one becomes a sample."""

    frames: int

    def size(self) -> int:
        return self.frames

    def name(self) -> str:
        return f"unit {self.frames}"


def make(unit: Unit):
    if unit.frames == 13:
        raise RuntimeError("nobody expected this")
    yield from (object() for _ in range(unit.frames))
    if unit.frames % 2:
        yield Fault(file=unit.name(), reason="odd")


def test_the_smallest_unit_comes_first_and_the_others_are_spread():
    units = [Unit(frames) for frames in range(100, 0, -1)]
    chosen = choose_units(units, most=10)
    assert chosen[0] == Unit(1)
    assert [unit.frames for unit in chosen[1:]] == [100, 90, 80, 70, 60, 50, 40, 30, 20]
    assert choose_units(units[:3], most=10) == [Unit(98), Unit(100), Unit(99)]
    assert choose_units([], most=10) == []


def test_samples_and_faults_are_counted_and_what_nobody_expected_is_a_fault():
    trial = try_units(SimpleNamespace(make=make), [Unit(2), Unit(3), Unit(13)])
    assert (trial.units, trial.samples) == (3, 5)
    assert [fault.file for fault in trial.faults] == ["unit 3", "unit 13"]
    assert "nobody expected this" in trial.faults[1].reason


def test_when_the_time_is_over_no_other_unit_is_begun(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pack_trial.time, "perf_counter", lambda: now[0])

    def slow(unit: Unit):
        now[0] += 3
        yield object()

    assert try_units(SimpleNamespace(make=slow), [Unit(1)] * 9, seconds=5).units == 2
    assert try_units(SimpleNamespace(make=slow), [Unit(1)] * 9, seconds=0).units == 1


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A synthetic mouse lab with a fault of every kind."""
    folder = tmp_path_factory.mktemp("lab")
    cli.main(["demo", "mouse", "--out", str(folder), "--videos=2", "--size", "64", "--workers", "1", "--faults"])
    return folder


def test_a_labs_folder_is_told_with_every_fault_that_packing_would_find(lab, tmp_path, capsys):
    folders = ["--videos", str(lab / "Videos"), "--annotations", str(lab / "Annotations")]
    before = sorted(lab.rglob("*"))
    capsys.readouterr()
    assert cli.main(["doctor", "mouse", *folders]) == 0
    told = capsys.readouterr().out
    assert sorted(lab.rglob("*")) == before
    assert cli.main(["pack", "mouse", *folders, "--out", str(tmp_path / "shards"), "--workers", "1", "--split", "1,0,0"]) == 0
    packed = capsys.readouterr().out
    kinds = packed.partition("\n\n")[0].splitlines()[2:]  # a line a kind of fault, below the table's head
    assert len(kinds) > 5
    assert not [line for line in kinds if line not in told]


def test_a_folder_with_nothing_to_pack_is_status_1(tmp_path, capsys):
    (tmp_path / "Videos").mkdir()
    assert cli.main(["doctor", "mouse", "--videos", str(tmp_path / "Videos")]) == 1
    assert "No samples found" in capsys.readouterr().out


def test_a_check_needs_no_folder_to_write_to(capsys):
    assert cli.main(["doctor", "fish", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--images" in out
    assert "--out" not in out
    assert "--dry_run" not in out
