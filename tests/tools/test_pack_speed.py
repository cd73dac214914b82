"""The line on a packing's speed: rates of what was made, and what held it up."""

from types import SimpleNamespace

import pytest

from tarpon.shards.manifest import MANIFEST
from tarpon.tools import pack_speed
from tarpon.tools.pack_speed import Stopwatch


def told(monkeypatch, tmp_path, *, cpu_s: float, workers: int | None = 2) -> list[str]:
    """What is told after 10 s in which 300 frames and 5 MB were packed, by two processors."""
    clock = iter([100.0, 110.0])
    monkeypatch.setattr(pack_speed, "time", SimpleNamespace(perf_counter=lambda: next(clock)))  # other threads keep theirs
    spent = iter([(1.0, 0.0, 0.0, 0.0), (1.5, 0.5, cpu_s - 1.0, 0.0)])
    names = ("user", "system", "children_user", "children_system")
    machine = {
        "times": lambda: SimpleNamespace(**dict(zip(names, next(spent), strict=True))),
        "sched_getaffinity": lambda pid: {0, 1},
    }
    monkeypatch.setattr(pack_speed, "os", SimpleNamespace(**machine))
    return Stopwatch.begin(str(tmp_path), workers=workers).tell(units=300, what="frames", size=5_000_000)


@pytest.mark.parametrize(
    ("cpu_s", "share", "binds"), [(19.0, "95%", "the processors bind"), (4.0, "20%", "the rest was waiting")]
)
def test_rates_and_what_binds(monkeypatch, tmp_path, cpu_s, share, binds):
    (line,) = told(monkeypatch, tmp_path, cpu_s=cpu_s)
    assert line.startswith("30 frames/s, 0.5 MB/s of shards, on 2 processes")
    assert f"computed {share} of the time: {binds}" in line


def test_what_a_cluster_spent_is_not_known(monkeypatch, tmp_path):
    assert told(monkeypatch, tmp_path, cpu_s=1.0, workers=None) == ["30 frames/s, 0.5 MB/s of shards, on a cluster"]


@pytest.mark.parametrize("there", [MANIFEST, "parts/shard-00000.parquet"])
def test_of_a_packing_that_goes_on_nothing_is_told(monkeypatch, tmp_path, there):
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_bytes(b"")
    assert told(monkeypatch, tmp_path, cpu_s=19.0) == []
