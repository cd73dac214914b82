"""Shards on executors: what fails is tried twice and named, what dies takes no other with it, and one packs a folder."""

import os
import subprocess
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tarpon.shards.manifest import MANIFEST
from tarpon.shards.packing_lock import LOCK, hold_packing
from tarpon.shards.shard_runs import run_jobs

DIES = """
import os, sys
from pathlib import Path
from tarpon.shards.packing_lock import hold_packing
with hold_packing(Path(sys.argv[1])):
    os.kill(os.getpid(), 9)
"""


@dataclass(frozen=True)
class Job:
    name: str


class Flaky(Executor):
    """Fails each named job so many times before it runs it."""

    def __init__(self, **fails: int) -> None:
        self.fails, self.submitted = fails, []

    def submit(self, function, job):
        self.submitted.append(job.name)
        future: Future = Future()
        if self.fails.get(job.name, 0) > 0:
            self.fails[job.name] -= 1
            future.set_exception(ConnectionError("the worker is gone"))
        else:
            future.set_result(function(job))
        return future


def run(jobs, executor):
    made, done = [], []
    run_jobs(jobs, lambda job: made.append(job.name), workers=1, executor=executor, done=lambda job: done.append(job.name))
    return made, done


JOBS = [Job("a"), Job("b"), Job("c")]


def test_an_interrupt_waits_for_no_job_that_had_not_begun(tmp_path):
    def interrupt(_job: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs([tmp_path / name for name in "abcd"], Path.touch, workers=1, executor=None, done=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_fails_once_is_made_in_a_second_try():
    executor = Flaky(b=1)
    made, done = run(JOBS, executor)
    assert executor.submitted == ["a", "b", "c", "b"]
    assert sorted(made) == sorted(done) == ["a", "b", "c"]


def test_what_fails_twice_is_named_and_the_others_finish():
    done = []
    with pytest.raises(ValueError, match=r"2 of 3 shards .*: a \(ConnectionError: the worker is gone\); c \(.*others are done"):
        run_jobs(JOBS, lambda job: None, workers=1, executor=Flaky(a=2, c=9), done=lambda job: done.append(job.name))
    assert done == ["b"]


@pytest.mark.slow
def test_a_process_that_dies_of_its_shard_is_named_and_the_others_finish(toy, tmp_path, monkeypatch):
    """The pool of processes breaks with it; each of the rest then has a process of its own."""
    monkeypatch.setenv("TOY_KILL", "1")
    with pytest.raises(ValueError, match=r"1 of \d+ shards could not be made in two tries: shard-00001 \(BrokenProcessPool"):
        toy.run(tmp_path / "out", count=4, workers=2)
    held = {path.stem for path in (tmp_path / "out" / "parts").glob("*.parquet")}
    assert held == {f"shard-{number:05d}" for number in range(4)} - {"shard-00001"}
    assert not (tmp_path / "out" / MANIFEST).exists()
    assert not (tmp_path / "out" / LOCK).exists()
    monkeypatch.delenv("TOY_KILL")
    with ThreadPoolExecutor(1) as pool:
        manifest, _ = toy.run(tmp_path / "out", count=4, executor=pool)
    assert len(manifest) == 8


def test_what_a_killed_worker_left_half_written_goes_when_its_shard_is_made_again(toy, tmp_path):
    """A cluster gives the shard to another worker in the middle of a packing: the first one's draft stays behind."""
    out = tmp_path / "out"

    class Killed(ThreadPoolExecutor):
        def submit(self, function, job):
            (out / f".{job.tar()}.elsewhere.1.tmp").write_bytes(b"half a tar")
            (out / f".{job.name}.idx.elsewhere.1.tmp").write_bytes(b"half an index")
            return super().submit(function, job)

    with Killed(1) as pool:
        toy.run(out, count=4, executor=pool)
    assert not list(out.rglob(".*"))
    assert (out / MANIFEST).exists()


def test_a_second_packing_into_a_folder_is_refused_and_changes_nothing(toy, tmp_path):
    with hold_packing(tmp_path / "out"):
        draft = tmp_path / "out" / ".shard-00000.tar.elsewhere.1.tmp"
        draft.write_bytes(b"half a tar")
        with pytest.raises(ValueError, match=rf"a packing is going on in it \(process {os.getpid()} on .*another --out"):
            toy.run(tmp_path / "out")
        assert draft.exists()
    assert not (tmp_path / "out" / LOCK).exists()


def test_the_lock_ends_with_its_process(tmp_path):
    assert subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False).returncode == -9
    assert (tmp_path / LOCK).exists()
    with hold_packing(tmp_path):
        assert Path(tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on ")
