"""Every part whole on a CPU in small; and stopped in the middle, with what it had found."""

import signal
import subprocess
import sys
import time

import pytest

from tarpon.tools.gpu.parts import LOG, PARTS


def start(out, shards, part: str, env: dict[str, str]) -> subprocess.Popen:
    words = ["-m", "tarpon.tools.gpu", f"--part={part}", f"--out={out}", "--device=cpu", f"--shards={shards}"]
    return subprocess.Popen([sys.executable, *words], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def whole(out, shards, part: str, env: dict[str, str], rows) -> list[dict]:
    """Run a part to its end: all its steps are there and well, and so are its files."""
    process = start(out, shards, part, env)
    _, said = process.communicate(timeout=300)
    found = rows(out / f"{part}.jsonl")
    bad = [row for row in found if row.get("ok") is False]
    assert process.returncode == 0, (bad, said)
    names = {row["name"] for row in found if row["kind"] == "step"}
    assert {step.name for step in PARTS[part].steps(part)} <= names
    made = sorted(path.name for path in out.iterdir())
    assert made == sorted(["cpu.json", "cpu.md", LOG, f"{part}.jsonl"])
    return found


@pytest.mark.slow
def test_pipelines(tmp_path, small_shards, quiet_env, rows):
    found = whole(tmp_path, small_shards, "pipelines", quiet_env, rows)
    compared = {row["name"].split()[0] for row in found if row["kind"] == "check" and "batch" in row["name"]}
    assert compared == {"mouse", "fish", "cells", "star"}
    decoded = {row["name"]: row["decoded"] for row in found if row["kind"] == "decodes"}
    assert decoded["vp9 at 128 px"]
    assert decoded["mjpeg at 128 px"]
    assert {name.split()[0] for name in decoded} == {"vp9", "mjpeg", "h264", "hevc", "av1"}
    assert {row["name"] for row in found if row["kind"] == "speed"} == {"loader vp9", "decode alone vp9"}


@pytest.mark.slow
def test_train(tmp_path, small_shards, quiet_env, rows):
    found = whole(tmp_path, small_shards, "train", quiet_env, rows)
    speeds = {row["name"]: row for row in found if row["kind"] == "speed"}
    head = {"small backbone, resident", "small backbone, resident, head as CUDA graphs"}
    assert set(speeds) == {"resident batch", "from shards vp9", *head}
    assert speeds["small backbone, resident, head as CUDA graphs"]["said"].endswith("head without CUDA graphs: there is no GPU")
    assert speeds["from shards vp9"]["of_resident"] > 0
    assert 0 <= speeds["from shards vp9"]["wait_share"] <= 1


def test_tests(tmp_path, small_shards, quiet_env, rows):
    found = whole(tmp_path, small_shards, "tests", quiet_env, rows)
    ran = [row["name"] for row in found if row["kind"] == "step" and "::" in row["name"]]
    assert len(ran) > 5
    assert [row["name"] for row in found if row["kind"] == "begin" and "::" in row["name"]] == ran


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_in_the_middle_nothing_is_lost_and_the_next_run_goes_on(tmp_path, small_shards, quiet_env, rows, number):
    process = start(tmp_path, small_shards, "kernels", quiet_env)
    journal = tmp_path / "kernels.jsonl"
    end = time.monotonic() + 120
    while not (journal.exists() and '"exact temporal_block_clip"' in journal.read_text()):
        assert time.monotonic() < end, process.poll()
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=30)
    before = rows(journal)
    done = {row["name"] for row in before if row["kind"] == "step" and row["ok"]}
    assert {"machine", "ceilings", "exact temporal_block"} <= done
    assert "-- exact temporal_block" in (tmp_path / LOG).read_text()
    if number == signal.SIGTERM:  # it had time to sum up, and to end what it had started
        assert "exact temporal_block" in (tmp_path / "cpu.md").read_text()
    found = whole(tmp_path, small_shards, "kernels", quiet_env, rows)[len(before) :]
    assert not done & {row["name"] for row in found if row["kind"] == "begin"}


@pytest.mark.slow
def test_what_is_to_be_carried_is_small(tmp_path):
    from tarpon.tools.gpu import prepared_shards

    said = prepared_shards.prepare(tmp_path / "carried")
    held = sum(path.stat().st_size for path in (tmp_path / "carried").rglob("*") if path.is_file())
    assert held < 10 * 2**20, said
    names = {path.name for path in (tmp_path / "carried").iterdir()}
    assert names == {"mouse_vp9", "mouse_mjpeg", "mouse_h264", "fish", "cells", "star", prepared_shards.DONE}
