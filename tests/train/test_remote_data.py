"""Training and evaluation on shards behind a server: as on those of a folder; a silent server is no bad sample."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tarpon.shards import store
from tarpon.shards.manifest import Manifest
from tarpon.shards.store import StoreError
from tarpon.train.config import LoaderOptions
from tarpon.train.evaluate import evaluate
from tarpon.train.quarantine import read_quarantine

TASKS = ("mouse", "cells", "star")


@pytest.fixture
def remote(tiny_problem, faulty_server, request, tmp_path, monkeypatch):
    """(task) -> its shards on the disk, the server before a copy of them, and a function that builds the problem on its URL."""
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install 'tarpon[http]'")
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    opened = []

    def serve(task: str):
        manifest: Manifest = request.getfixturevalue(f"{task}_shards")
        folder = shutil.copytree(manifest.root, tmp_path / "served")
        opened.append(faulty_server.FaultyServer(folder))

        def build(bad_rows: int = 0, **changes):
            loader = LoaderOptions(bad_rows=bad_rows, cache=str(tmp_path / "cache"))
            return tiny_problem(task, data=opened[-1].url, loader=loader, **changes)

        return manifest, opened[-1], build

    yield serve
    for server in opened:
        server.close()


@pytest.mark.parametrize("task", TASKS)
def test_the_same_batches_and_scores_as_from_a_folder(task, remote, tiny_problem):
    _, server, build = remote(task)
    near, far = tiny_problem(task), build()
    for want, got, _ in zip(near.data.batches(0, 0), far.data.batches(0, 0), range(3), strict=False):
        assert set(want) == set(got)
        assert all(torch.equal(want[name], got[name]) for name in want)
    want, got = evaluate(near, "val").scalars, evaluate(far, "val").scalars
    assert {name: value for name, value in got.items() if name in want} == pytest.approx(want, nan_ok=True)
    assert all(count == 1 for name, count in server.served.items() if name.endswith(".tar"))


@pytest.mark.parametrize("task", TASKS)
def test_a_missing_test_tar_ends_the_evaluation_or_is_told_with_the_scores(task, remote):
    manifest, server, build = remote(task)
    rows = manifest.rows("val")
    name = manifest.value(int(rows[-1]), "shard")
    gone = int(np.sum(manifest.column("shard") == name))
    (Path(server.source) / name).unlink()
    with pytest.raises(ValueError, match=rf"1 bad samples, 0 allowed \(bad_rows\); the first: .*cannot read {name}"):
        evaluate(build(), "val")
    if gone < len(rows):
        scored = evaluate(build(bad_rows=gone), "val").scalars
        assert 0 < scored["rows"] < scored["rows_of"]


def test_a_silent_server_ends_the_run_and_spends_nothing(remote, tmp_path, monkeypatch):
    manifest, server, build = remote("mouse")
    monkeypatch.setattr(store, "RETRY_S", 0.2)
    (tmp_path / "run").mkdir()
    problem = build(bad_rows=100, out=str(tmp_path / "run"))
    for name in set(manifest.column("shard")):
        server.faults[name] = [503] * 1000
    with pytest.raises(StoreError, match="no answer"):
        next(problem.data.batches(0, 0))
    assert problem.data.quarantine.budget.faults == []
    assert read_quarantine(tmp_path / "run") == []
