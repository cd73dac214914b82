"""Packing: the same bytes whoever does it, whole or absent, finished by a second run after a kill."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tarpon.shards.manifest import CARD, MANIFEST, open_manifest
from tarpon.shards.pack import QUARANTINE, Packing, cut_shards, pack


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def times(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("shard-*")}


def test_one_worker_two_and_another_executor_give_the_same_bytes(toy, tmp_path):
    with ThreadPoolExecutor(3) as pool:  # the two process pools spend their time starting up: let them do so together
        runs = [pool.submit(toy.run, tmp_path / name, workers=count) for name, count in (("one", 1), ("two", 2))]
        toy.run(tmp_path / "threads", executor=pool)
        for run in runs:
            run.result()
    first = digests(tmp_path / "one")
    assert {name.partition(".")[2] for name in first} == {"tar", "idx", "parquet", "json", "jsonl"}
    assert digests(tmp_path / "two") == first
    assert digests(tmp_path / "threads") == first


def test_the_card_and_the_quarantine_tell_what_happened(toy_shards, tmp_path):
    manifest = toy_shards()
    out = tmp_path / "toy"
    assert len(manifest) == 22
    assert manifest.card["kind"] == "toy"
    assert manifest.card["note"] == "toy"
    assert manifest.card["samples"] == 22
    assert sum(manifest.card["splits"].values()) == 22
    faults = [json.loads(line) for line in (out / QUARANTINE).read_text().splitlines()]
    assert [(fault["file"], fault["row"]) for fault in faults] == [("junk", None), ("unit9", 9)]
    assert not list(out.rglob("*.tmp"))
    assert not (out / "parts").exists()


def test_a_finished_set_is_left_alone_and_another_is_refused(toy, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        _, faults = toy.run(tmp_path, executor=pool)
        before = digests(tmp_path), times(tmp_path)
        _, again = toy.run(tmp_path, executor=pool)
        assert again == faults
        assert (digests(tmp_path), times(tmp_path)) == before
        with pytest.raises(ValueError, match="other files or settings"):
            toy.run(tmp_path, executor=pool, settings='{"a": 1}')


def test_a_failing_unit_leaves_no_draft_and_the_rest_is_kept(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_FAIL", "6")
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="disk is full"):
        toy.run(tmp_path, executor=pool)
    assert not (tmp_path / MANIFEST).exists()
    assert not list(tmp_path.rglob("*.tmp"))
    done = times(tmp_path)
    assert "shard-00000.tar" in done
    with pytest.raises(ValueError, match="packing did not finish"):
        open_manifest(tmp_path)
    monkeypatch.delenv("TOY_FAIL")
    with ThreadPoolExecutor(1) as pool:
        manifest, _ = toy.run(tmp_path, executor=pool)
        toy.run(tmp_path.parent / "fresh", executor=pool)
    assert len(manifest) == 22
    assert times(tmp_path) | done == times(tmp_path)  # what was done kept its time stamp
    assert digests(tmp_path) == digests(tmp_path.parent / "fresh")


def test_after_a_kill_the_second_run_finishes(toy, tmp_path):
    out = tmp_path / "killed"
    child = subprocess.Popen(
        [sys.executable, toy.__file__, str(out)], start_new_session=True, env=os.environ | {"TOY_SLEEP_S": "0.3"}
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("parts/*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    done = {part.stem for part in out.glob("parts/*.parquet")}
    assert 2 <= len(done) < 12
    assert not (out / MANIFEST).exists()
    (out / ".shard-00005.tar.1.tmp").write_bytes(b"half a tar")
    before = {name: time for name, time in times(out).items() if name.partition(".")[0] in done}
    with ThreadPoolExecutor(2) as pool:
        toy.run(out, executor=pool)
        toy.run(tmp_path / "fresh", executor=pool)
    assert times(out) | before == times(out)
    assert digests(out) == digests(tmp_path / "fresh")


def test_a_damaged_shard_of_an_unfinished_set_is_made_again(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_FAIL", "11")
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError):
        toy.run(tmp_path / "out", executor=pool)
    monkeypatch.delenv("TOY_FAIL")
    tar = tmp_path / "out" / "shard-00000.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    with ThreadPoolExecutor(1) as pool:
        toy.run(tmp_path / "out", executor=pool)
        toy.run(tmp_path / "fresh", executor=pool)
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def test_what_an_unfinished_packing_of_other_files_left_is_removed(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_FAIL", "11")
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError):
        toy.run(tmp_path / "out", executor=pool)
    with ThreadPoolExecutor(1) as pool:
        toy.run(tmp_path / "out", count=6, executor=pool)
        toy.run(tmp_path / "fresh", count=6, executor=pool)
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def test_nothing_to_pack_gives_no_set(toy, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        manifest, faults = pack(
            [toy.Unit(9), toy.Unit(19)],
            [],
            make=toy.make,
            schema=toy.SCHEMA,
            settings="{}",
            card={},
            packing=Packing(out=tmp_path),
            histogram=toy.histogram,
            executor=pool,
            progress=False,
        )
    assert manifest is None
    assert [fault.file for fault in faults] == ["unit19", "unit9"]
    assert not (tmp_path / MANIFEST).exists()


def test_two_samples_of_one_key_are_refused(toy, tmp_path):
    units = [toy.Unit(1, "a"), toy.Unit(2, "b"), toy.Unit(3, "c"), toy.Unit(1, "d")]
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="two samples have the key u1-"):
        pack(
            units,
            [],
            make=toy.make,
            schema=toy.SCHEMA,
            settings="{}",
            card={},
            packing=Packing(out=tmp_path),
            histogram=toy.histogram,
            executor=pool,
            progress=False,
        )
    assert not (tmp_path / CARD).exists()


def test_cut_shards_by_size(toy):
    units = [toy.Unit(n) for n in range(10)]
    assert [len(run) for run in cut_shards(units, shard_size=30, shards=2)] == [3, 3, 3, 1]
    assert [len(run) for run in cut_shards(units, shard_size=1000, shards=2)] == [5, 5]
    assert [len(run) for run in cut_shards(units, shard_size=1)] == [1] * 10
    assert sum(cut_shards(units, shard_size=30), ()) == tuple(units)


def test_a_source_may_assign_the_splits_and_a_given_one_may_share_groups(toy, tmp_path):
    def run(out, given, assign):
        with ThreadPoolExecutor(1) as pool:
            return pack(
                [toy.Unit(1), toy.Unit(2), toy.Unit(3)],
                [],
                make=toy.make,
                schema=toy.SCHEMA,
                settings="{}",
                card=lambda table: {"rows": len(table)},
                packing=Packing(out=tmp_path / out, given=given),
                assign=assign,
                executor=pool,
                progress=False,
            )[0]

    def shared(table):
        return ["test" if key.endswith("-0") else "train" for key in table["key"].to_pylist()]

    manifest = run("given", ("test",), shared)
    assert manifest.table["split"].to_pylist() == ["test", "train"] * 3
    assert manifest.card["rows"] == 6
    assert manifest.card["split"]["given"] == ["test"]
    with pytest.raises(ValueError, match="'g1' is in both test and train"):
        run("refused", (), shared)
    assert not (tmp_path / "refused" / MANIFEST).exists()
