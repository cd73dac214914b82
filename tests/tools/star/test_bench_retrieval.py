"""The retrieval benchmark measures, writes its figures and refuses what it cannot do."""

import json

import pytest

from tarpon.tools.star import bench_retrieval


def test_it_measures_both_ways(tmp_path, capsys):
    path = tmp_path / "figures" / "bench.json"
    assert bench_retrieval.run(queries=60, gallery=200, dim=32, rerank=True, strip_mib=1, json=str(path)) == 0
    held = json.loads(path.read_text())
    assert [row["name"] for row in held["rows"]] == ["search", "re-ranked"]
    assert all(row["seconds"] > 0 and 0 < row["map"] <= 1 for row in held["rows"])
    assert held["sizes"]["gallery"] == 200
    said = capsys.readouterr().out
    assert "60 x 200 x 32" in said
    assert f"{held['rows'][0]['map']:.4f}" in said


@pytest.mark.parametrize(("change", "part"), [({"queries": 0}, "queries=0"), ({"device": "tpu"}, "device='tpu'")])
def test_mistakes(change, part):
    with pytest.raises(ValueError, match=part):
        bench_retrieval.run(**change)
