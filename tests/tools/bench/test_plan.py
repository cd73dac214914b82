"""The benchmark of plans: its made-up manifests are ones that open and train, and its table holds what was measured."""

import json

import numpy as np
import pytest

from tarpon.shards.manifest import open_manifest
from tarpon.tools.bench.plan import IMAGES, read_sizes, run
from tarpon.tools.bench.plan_sets import write_set
from tarpon.tools.tasks import TOOLS, benchmark_of


@pytest.mark.parametrize("task", [None, *(name for name, tools in TOOLS.items() if "plan" in tools.benchmarks)])
def test_a_made_up_set_opens_and_holds_one_split_a_shard(task, tmp_path):
    benchmark = benchmark_of(task, "plan") if task else IMAGES
    write_set(tmp_path / "set", benchmark.drawn, rows=120, shards=10)
    manifest = open_manifest(tmp_path / "set", kind=benchmark.drawn.schema.kind)
    assert {name: len(manifest.rows(name)) for name in ("train", "val", "test")} == {"train": 84, "val": 12, "test": 24}
    assert len(set(zip(manifest.column("shard"), manifest.column("split"), strict=True))) == 10
    order = benchmark.ways["rows"].begin(manifest)
    assert set(next(order.batches(0, micro=8, rank=0, world=1)).rows.tolist()) <= set(manifest.rows("train").tolist())
    if "histogram" in manifest.table.column_names:
        actions, histogram = (manifest.lists(name, np.arange(120))[0].reshape(120, -1) for name in ("actions", "histogram"))
        counted = np.stack([np.bincount(row, minlength=histogram.shape[1]) for row in actions])
        np.testing.assert_array_equal(histogram, counted)


@pytest.mark.parametrize("task", [None, *(name for name, tools in TOOLS.items() if "plan" in tools.benchmarks)])
def test_a_set_made_up_by_shards_is_read_and_planned(task, tmp_path):
    benchmark = benchmark_of(task, "plan") if task else IMAGES
    way = benchmark.ways["shards"]
    way.write(tmp_path / "set", benchmark.drawn, rows=240, shards=20)
    manifest = way.open(str(tmp_path / "set"))
    assert len(manifest) == 240
    assert {name: manifest.split_size(name) for name in ("train", "val", "test")} == {"train": 168, "val": 36, "test": 36}
    rows = np.concatenate([slots.rows for slots in way.begin(manifest).batches(0, micro=8, rank=0, world=1)])
    assert len(rows) >= 168  # batches of P x K may need more
    assert set(rows.tolist()) <= set(np.asarray(manifest.rows("train")).tolist())
    assert {manifest.value(row, "split") for row in rows.tolist()} == {"train"}


def test_sizes_are_numbers_that_fit_together():
    assert read_sizes("1e6,1e7", "1000") == [(10**6, 1000), (10**7, 1000)]
    assert read_sizes("1000,2000", "10,20") == [(1000, 10), (2000, 20)]
    wrong = {"numbers by comma": ("many", "10"), "as many": ("1e4,1e5,1e6", "10,20"), "rows in all": ("100", "10")}
    for why, sizes in wrong.items():
        with pytest.raises(ValueError, match=why):
            read_sizes(*sizes)


def test_the_table_and_the_file_hold_each_manifest(tmp_path, capsys):
    assert run(rows="600,900", shards="12", json=str(tmp_path / "costs.json")) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in shown[-2:]] == [["rows", "600", "12"], ["rows", "900", "12"]]
    held = json.loads((tmp_path / "costs.json").read_text())["rows"]
    assert [row["rows"] for row in held] == [600, 900]
    assert all(row[name] > 0 for row in held for name in ("open_s", "start_s", "step_ms", "fingerprint_s"))
    with pytest.raises(ValueError, match="must be one of rows, shards"):
        run(plan="columns")
