"""Packing on a cluster: the same bytes as here, though a worker is killed; what is wrong with the cluster is one line."""

import hashlib
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tarpon.shards.features import open_features
from tarpon.shards.pack import QUARANTINE
from tarpon.tools import cli

distributed = pytest.importorskip("distributed", reason="clusters need dask.distributed: pip install 'tarpon[cluster]'")


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.is_file()}


def said(capsys) -> str:
    return capsys.readouterr().err.strip()


@pytest.fixture
def pack(cells_lab, tmp_path, monkeypatch):
    """(out, *words) -> exit status of packing the cells' demo lab from its own folder, by relative paths."""
    monkeypatch.chdir(cells_lab)
    return lambda out, *words: cli.main(["pack", "cells", "--config", "cells.yaml", "--out", str(tmp_path / out), *words])


@pytest.mark.slow
def test_shards_made_by_workers_are_those_made_here_though_one_is_killed(pack, tmp_path, capsys):
    assert pack("here", "--workers", "1") == 0
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        victim = next(iter(cluster.workers.values())).pid
        killed = []

        def kill() -> None:
            """Once the first shard is there and others are being made."""
            while not list((tmp_path / "there").glob("parts/*.parquet")):
                time.sleep(0.005)
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        assert pack("there", "--cluster", cluster.scheduler_address) == 0
        killer.join(1)
    assert killed
    assert digests(tmp_path / "there") == digests(tmp_path / "here")
    assert QUARANTINE in digests(tmp_path / "there")


@pytest.mark.slow
def test_workers_fetch_what_they_pack(cells_lab, faulty_server, tmp_path):
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp: pip install 'tarpon[http]'")
    with faulty_server.serving(cells_lab) as server:
        server.lists = True
        config = tmp_path / "cells.yaml"
        config.write_text(f"data: {{infected_dir: {server.url}/infected, uninfected_dir: {server.url}/uninfected}}\n")
        words = ["pack", "cells", "--config", str(config), "--scratch", str(tmp_path / "s"), "--out"]
        assert cli.main([*words, str(tmp_path / "here"), "--workers", "2"]) == 0
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            assert cli.main([*words, str(tmp_path / "there"), "--cluster", cluster.scheduler_address]) == 0
    assert digests(tmp_path / "there") == digests(tmp_path / "here")
    assert all(server.served[path.name] >= 4 for path in (cells_lab / "infected").iterdir())  # twice listed, twice packed


@pytest.mark.slow
def test_features_made_by_workers_are_those_made_here(fish_shards, tmp_path, monkeypatch):
    words = ["features", fish_shards.root, "--backbone", "test_vit", "--pretrained", "false", "--image_size", "32"]
    words += ["--resize", "40", "--batch", "16", "--threads", "1"]
    assert cli.main([*words, "--out", str(tmp_path / "here")]) == 0
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        assert cli.main([*words, "--out", str(tmp_path / "there"), "--cluster", cluster.scheduler_address]) == 0
    here, there = open_features(tmp_path / "here"), open_features(tmp_path / "there")
    assert here.labels.equals(there.labels)
    np.testing.assert_allclose(here.features.astype(float), there.features.astype(float), atol=1e-3)  # of vectors of length 1
    assert here.card["weights_sha256"] == there.card["weights_sha256"]


def test_an_address_that_is_none_and_one_where_nobody_answers(pack, capsys, monkeypatch):
    monkeypatch.setattr("tarpon.tools.cluster.CONNECT_S", 0.5)
    assert pack("out", "--cluster", "scheduler") == 2
    assert "give a scheduler's address such as tcp://scheduler:8786, or slurm" in said(capsys)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    assert pack("out", "--cluster", address) == 2
    told = said(capsys).splitlines()[-1]
    assert f"cluster={address}: no scheduler answers there" in told


def test_a_scheduler_without_workers_is_told(pack, capsys):
    with distributed.LocalCluster(n_workers=0, dashboard_address=None, processes=False, protocol="tcp://") as cluster:
        assert pack("out", "--cluster", cluster.scheduler_address) == 2
    assert "the scheduler has no workers; start some with: dask worker tcp://" in said(capsys)


def test_a_missing_package_names_its_extra(pack, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert pack("out", "--cluster", "tcp://a:1") == 2
    assert "cluster=tcp://a:1: it needs the package distributed: pip install 'tarpon[cluster]'" in said(capsys)


def test_slurm_wants_to_know_what_a_job_gets(pack, capsys):
    pytest.importorskip("dask_jobqueue")
    assert pack("out", "--cluster", "slurm") == 2
    told = said(capsys).splitlines()[-1]
    assert "cluster=slurm: " in told
    assert "jobqueue.yaml" in told
