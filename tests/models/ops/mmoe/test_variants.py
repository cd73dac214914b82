"""The table of measurements that decides between ways to take the experts' products."""

import pytest
import torch

from tarpon.models.ops.mmoe import variants
from tarpon.models.ops.mmoe.variants import Timing, choose, record, rule


def timing(**change) -> Timing:
    sizes = {"rows": 4096, "features": 1024, "hidden": 2048, "experts": 4}
    return Timing(**{"device": "X", "dtype": "bfloat16", **sizes, "library_ms": 1.0, "fused_ms": 0.9, **change})


def ask(dtype=torch.bfloat16, **change) -> str:
    return choose(**{"dtype": dtype, "rows": 4096, "features": 1024, "hidden": 2048, "experts": 4, **change})


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setattr(variants, "TABLE", tmp_path / "table.json")
    yield tmp_path / "table.json"
    variants.read_table.cache_clear()


def test_without_measurements_the_rule_decides(table):
    assert (ask(), ask(rows=64), ask(rows=64, dtype=torch.float32)) == ("library", "fused", "library")
    assert ask(rows=0) == rule(dtype=torch.bfloat16, rows=0)


def test_the_nearest_measurement_decides(table):
    record([timing(), timing(rows=256, library_ms=0.2, fused_ms=0.3)], table)
    assert ask() == ask(rows=3000) == "fused"
    assert ask(rows=256) == "library"
    assert ask(dtype=torch.float16) == "library"  # by rule: nothing was measured in float16
    assert ask(rows=64) == "fused"  # by rule: 256 rows are too far away
    record([timing(fused_ms=1.1)], table)
    assert ask() == "library"


def test_a_broken_table_is_explained(table):
    table.write_text('[{"rows": 5}]')
    with pytest.raises(ValueError, match=r"table\.json.*delete it or write it anew"):
        ask()
    variants.read_table.cache_clear()
    with pytest.raises(ValueError, match="must be positive"):
        timing(fused_ms=0.0)
