"""Packing: the same bytes whoever does it, whole or absent, finished by a second run after a kill."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tarpon.shards.manifest import CARD, MANIFEST, open_manifest
from tarpon.shards.pack import QUARANTINE, Packing, PackingError, cut_shards, pack
from tarpon.shards.quarantine import read_faults
from tarpon.shards.source import Scan


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
            toy.run(tmp_path, executor=pool, options=toy.Options(a=1))


def test_a_failing_unit_leaves_no_draft_and_the_rest_is_kept(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_FAIL", "6")
    with ThreadPoolExecutor(1) as pool, pytest.raises(OSError, match="No space left"):
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
    deadline = time.monotonic() + 300  # three processes that load torch, on a machine that may be busy
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
    with ThreadPoolExecutor(1) as pool, pytest.raises(OSError):
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
    with ThreadPoolExecutor(1) as pool, pytest.raises(OSError):
        toy.run(tmp_path / "out", executor=pool)
    with ThreadPoolExecutor(1) as pool:
        toy.run(tmp_path / "out", count=6, executor=pool)
        toy.run(tmp_path / "fresh", count=6, executor=pool)
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def packed(toy, out: Path, units: list, *, source=None, given: tuple = ()):
    with ThreadPoolExecutor(1) as pool:
        return pack(
            source or toy.TOY,
            Scan(units, []),
            options=toy.Options(),
            packing=Packing(out=out, given=given, shard_size=40),
            executor=pool,
            progress=False,
        )


def written(out: Path) -> list[tuple[str, str]]:
    return [(fault.file, fault.reason) for fault in read_faults(out / QUARANTINE)]


def test_nothing_to_pack_gives_no_set(toy, tmp_path):
    manifest, faults = packed(toy, tmp_path, [toy.Unit(9), toy.Unit(19)])
    assert manifest is None
    assert [fault.file for fault in faults] == ["unit19", "unit9"]
    assert read_faults(tmp_path / QUARANTINE) == faults
    assert not (tmp_path / MANIFEST).exists()


def test_a_listing_of_faults_alone_is_written(toy, tmp_path):
    manifest, faults = toy.run(tmp_path / "out", count=0)
    assert manifest is None
    assert read_faults(tmp_path / "out" / QUARANTINE) == faults


def test_an_exception_that_nobody_expected_quarantines_its_unit(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_BREAK", "4")
    with ThreadPoolExecutor(1) as pool:
        manifest, _ = toy.run(tmp_path, executor=pool)
    assert len(manifest) == 20
    assert "unit4" not in manifest.table["source"].to_pylist()
    assert ("unit4", "AttributeError: 'NoneType' object has no attribute 'pages'") in written(tmp_path)


@pytest.mark.parametrize("names", [(1, 2, 3, 1), (1, 1, 2, 3), (1, 1, 2, 3, 1, 1)])
def test_of_samples_of_one_key_the_first_stays_and_the_others_are_faults(toy, tmp_path, names):
    """In one shard and across shards; the tars hold nothing else."""
    manifest, faults = packed(toy, tmp_path, [toy.Unit(n, f"g{i}") for i, n in enumerate(names)])
    assert sorted(manifest.table["key"].to_pylist()) == [f"u{n}-{part}" for n in (1, 2, 3) for part in range(2)]
    assert len(faults) == 2 * (len(names) - 3)
    assert all(fault.file == "unit1" and "u1-" in fault.reason for fault in faults)
    held = set()
    for path in tmp_path.glob("*.tar"):
        with tarfile.open(path) as tar:
            held |= {member.name.partition(".")[0] for member in tar}
    assert sorted(held) == sorted(manifest.table["key"].to_pylist())
    assert manifest.table["group"].to_pylist()[0] == "g0"


def test_where_the_split_fails_the_faults_are_written_and_told(toy, tmp_path):
    with pytest.raises(PackingError, match="cannot fill train, val, test") as caught:
        packed(toy, tmp_path, [toy.Unit(1, "one"), toy.Unit(2, "one"), toy.Unit(9)])
    assert [fault.file for fault in caught.value.faults] == ["unit9"]
    assert [file for file, _ in written(tmp_path)] == ["unit9"]
    assert not (tmp_path / CARD).exists()


def test_cut_shards_by_size(toy):
    units = [toy.Unit(n) for n in range(10)]
    assert [len(run) for run in cut_shards(units, shard_size=30, shards=2)] == [3, 3, 3, 1]
    assert [len(run) for run in cut_shards(units, shard_size=1000, shards=2)] == [5, 5]
    assert [len(run) for run in cut_shards(units, shard_size=1)] == [1] * 10
    assert sum(cut_shards(units, shard_size=30), ()) == tuple(units)


def test_a_source_may_assign_the_splits_and_a_given_one_may_share_groups(toy, tmp_path):
    def shared(rows, *, options, packing):
        return ["test" if key.endswith("-0") else "train" for key in rows["key"].to_pylist()]

    source, units = replace(toy.TOY, assign=shared), [toy.Unit(1), toy.Unit(2), toy.Unit(3)]
    manifest, _ = packed(toy, tmp_path / "given", units, source=source, given=("test",))
    assert manifest.table["split"].to_pylist() == ["test", "train"] * 3
    assert manifest.card["rows"] == 6
    assert manifest.card["split"]["given"] == ["test"]
    with pytest.raises(ValueError, match="'g1' is in both test and train"):
        packed(toy, tmp_path / "refused", units, source=source)
    assert not (tmp_path / "refused" / MANIFEST).exists()
