"""Parts run in order within their time, nothing found is lost, and the figures are those of the runs."""

import json
import sys
import time
from pathlib import Path

import pytest
import torch

from tarpon.tools import gpu, gpu_train
from tarpon.tools.gpu import Bench, Found, Part
from tarpon.tools.gpu_command import Failed, call
from tarpon.tools.gpu_train import Workload, steady

WHERE = {"gpu": "NVIDIA X1", "cpu": "C", "cores": 2, "memory_gib": 4.0, "versions": {"torch": "2"}}
ROW = {"unit": "frames", "peak_mib": 3.0}


def part(name: str, found: Found | Exception, *, minutes: float = 1.0) -> Part:
    def make(setup: Bench, seconds: float) -> Found:
        if isinstance(found, Exception):
            raise found
        return found

    return Part(name=name, minutes=minutes, make=make)


def go(parts: list[Part], tmp_path: Path, *, minutes: float = 9.0) -> tuple[int, dict, str]:
    status = gpu.go(parts, Bench(folder=tmp_path), minutes=minutes, place=tmp_path / "made" / "x1", where=WHERE)
    return status, json.loads((tmp_path / "made" / "x1.json").read_text()), (tmp_path / "made" / "x1.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="no NVIDIA GPU here"):
        gpu.run(out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_as_a_program_it_leaves_with_2_and_one_line(tmp_path):
    with pytest.raises(Failed, match=r"status 2: tarpon gpu: no NVIDIA GPU here"):
        call([sys.executable, "-m", "tarpon.tools.gpu"], seconds=60, cwd=tmp_path)


def test_every_part_is_run_once_and_all_figures_are_kept(tmp_path):
    rows = [{"name": "a", "per_second": 10.0, **ROW}, {"name": "b", "per_second": 20.0, "gpu_mib": 7.0, **ROW}]
    parts = [part("one", Found(said="fine", rows=rows[:1], ratios={"r": 2.0})), part("two", Found(said="also", rows=rows[1:]))]
    status, told, page = go(parts, tmp_path)
    assert status == 0
    assert told["rows"] == rows
    assert told["ratios"] == {"r": 2.0}
    assert told["machine"] == WHERE
    assert [(each["name"], each["ok"]) for each in told["parts"]] == [("one", True), ("two", True)]
    assert "| b | 20.0 | frames | 3 | 7 |" in page
    assert "| r | 2.00 |" in page


@pytest.mark.parametrize("error", [Failed("it broke"), ValueError("it broke"), OSError("it broke")])
def test_a_failed_part_is_told_and_the_others_still_run(tmp_path, error):
    parts = [part("bad", error), part("good", Found(said="fine", rows=[{"name": "a", "per_second": 1.0, **ROW}]))]
    status, told, page = go(parts, tmp_path)
    assert status == 1
    assert [each["ok"] for each in told["parts"]] == [False, True]
    assert "it broke" in told["parts"][0]["said"]
    assert "| bad | failed |" in page
    assert len(told["rows"]) == 1


def test_figures_so_far_are_on_disk_when_a_part_is_killed(tmp_path):
    def killed(setup: Bench, seconds: float) -> Found:
        raise KeyboardInterrupt

    first = part("one", Found(said="fine", rows=[{"name": "a", "per_second": 1.0, **ROW}]))
    with pytest.raises(KeyboardInterrupt):
        go([first, Part(name="two", minutes=1, make=killed)], tmp_path)
    assert len(json.loads((tmp_path / "made" / "x1.json").read_text())["rows"]) == 1


def test_a_part_gets_its_own_time_or_what_is_left_and_else_is_not_run(tmp_path):
    given = []

    def make(setup: Bench, seconds: float) -> Found:
        given.append(seconds)
        return Found(said="fine")

    parts = [Part(name="short", minutes=0.5, make=make), Part(name="long", minutes=5, make=make)]
    assert go(parts, tmp_path, minutes=2)[0] == 0
    assert given[0] == 30
    assert 119 < given[1] <= 120
    status, told, _ = go([Part(name="late", minutes=5, make=make)], tmp_path, minutes=0.01)
    assert status == 1
    assert "not run" in told["parts"][0]["said"]
    assert len(given) == 2


def test_the_parts_fit_the_time_that_was_asked_for():
    """Their limits leave slack for the slow ones; what they are expected to take is well under 9 minutes."""
    names = [each.name for each in gpu.PARTS]
    assert len(set(names)) == len(names)
    assert names.index("lab and shards") < min(i for i, name in enumerate(names) if "training" in name or "loader" in name)
    assert all(0 < each.minutes <= 3 for each in gpu.PARTS)
    assert {f"loader {codec}" for codec in ("vp9", "mjpeg", "h264")} <= set(names)


JUNIT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"/><testcase name="c"><failure/></testcase>
<testcase name="d"><error/></testcase><testcase name="e"><skipped/></testcase></testsuite></testsuites>"""


def test_tests_are_counted_and_named():
    found = gpu.counted(JUNIT)
    assert not found.ok
    assert found.said == "2 passed, 2 failed, 1 skipped: c, d"
    assert gpu.counted('<testsuites><testsuite><testcase name="a"/></testsuite></testsuites>').ok


@pytest.mark.parametrize("cases", ["", '<testcase name="e"><skipped/></testcase>'])
def test_tests_that_did_not_run_prove_nothing(cases):
    assert not gpu.counted(f"<testsuites><testsuite>{cases}</testsuite></testsuites>").ok


def test_speed_is_frames_over_time_after_the_warm_up():
    """100 frames in 1 s and 100 in 4 s are 40 frames a second; waiting 0.5 s and 1 s of these 5 is 0.3."""
    lines = [
        {"step": 10, "frames_per_s": 1.0, "loader/wait_share": 1.0},
        {"step": 20, "frames_per_s": 100.0, "loader/wait_share": 0.5},
        {"step": 30, "val/macro_f1": 0.1},
        {"step": 30, "frames_per_s": 25.0, "loader/wait_share": 0.25},
    ]
    assert steady(lines, warm_up=10) == pytest.approx({"per_second": 40.0, "wait_share": 0.3})
    with pytest.raises(Failed, match="no speed after step 30"):
        steady(lines, warm_up=30)


def test_training_is_told_as_a_share_of_the_resident_one():
    rows = [
        {"name": gpu.RESIDENT, "per_second": 200.0},
        {"name": "vp9: training end to end", "per_second": 50.0},
        {"name": "vp9: tarpon", "per_second": 70.0},
    ]
    assert gpu.against_ceiling(rows) == {"vp9 train_over_resident": 0.25}
    assert gpu.against_ceiling(rows[1:]) == {}


@pytest.mark.parametrize(("name", "file"), [("NVIDIA H200", "nvidia_h200"), ("Tesla T4 (x2)/1", "tesla_t4_x2_1")])
def test_files_are_named_for_the_gpu(name, file):
    assert gpu.file_name(name) == file


@pytest.mark.parametrize("steps", [{"steps": 25}, {"warm_up": 15}, {"warm_up": 120}])
def test_a_workload_counts_whole_lines_of_the_log(steps):
    with pytest.raises(ValueError, match="multiples of log_every"):
        Workload(**steps)


def test_a_small_gpu_takes_the_frames_in_passes():
    assert Workload.on(139).frames_per_pass is None
    assert "--model.backbone.frames_per_pass=60" in Workload.on(15).words(Path("s"), Path("o"))


def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path):
    """Parent and child each write their process id."""
    begun, pid_file = time.monotonic(), tmp_path / "pids"
    code = (
        f"import os, time; os.fork(); open({str(pid_file)!r}, 'a').write(f'{{os.getpid()}}\\n'); "
        "print('begun', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", code]
    with pytest.raises(Failed, match="was ended after 1 s: begun"):
        call(words, seconds=1)
    assert time.monotonic() - begun < 10
    pids = [int(line) for line in pid_file.read_text().splitlines()]
    assert len(pids) == 2
    time.sleep(0.2)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_is_measured_and_its_failure_told_by_its_last_line():
    peak = call([sys.executable, "-c", "import time; held = b'1' * (200 * 2**20); time.sleep(3)"], seconds=30)
    assert peak.host > 200
    assert (peak.gpu is None) == (not torch.cuda.is_available())
    with pytest.raises(Failed, match="left with status 3: the end"):
        call([sys.executable, "-c", "print('the end'); raise SystemExit(3)"], seconds=30)
    call([sys.executable, "-c", "raise SystemExit(3)"], seconds=30, allowed=(0, 3))


@pytest.mark.slow
def test_training_and_its_ceiling_on_a_cpu(mouse_shards, tmp_path):
    """The same commands as on a GPU, with a tiny network in float32."""
    work = Workload(backbone="lcnet_035", size=64, frames=8, batch=1, steps=4, warm_up=2, log_every=1, dtype="fp32")
    ran = gpu_train.trained(Path(mouse_shards.root), tmp_path / "run", work, seconds=200)
    stayed = gpu_train.resident(Path(mouse_shards.root), tmp_path / "resident", work, seconds=200)
    for row in (ran, stayed):
        assert row["per_second"] > 0
        assert row["peak_mib"] > 100
    assert 0 <= ran["wait_share"] <= 1
