"""The benchmark of fused operations: what it times is what it says, its figures add up, and what was found stays."""

import json
from types import SimpleNamespace

import pytest
import torch

from tarpon.models.ops import OPS, choices
from tarpon.models.ops.choices import Choice, TableRow
from tarpon.models.ops.compare import Deviation
from tarpon.models.ops.spec import Baseline, OpSpec
from tarpon.tools.bench import ops as bench_ops
from tarpon.tools.bench import ops_check, ops_table, ops_timing
from tarpon.tools.bench.ops_timing import Row, make_step


def scaled(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return x * factor


def inputs(shape, *, dtype, device, seed):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)
    return {"x": values.requires_grad_(), "factor": torch.tensor(3.0, dtype=dtype)}


def make_twice(given):
    return Baseline.of(lambda x, factor: x * factor * 1, given)


SPEC = OpSpec(
    name="scaled", letters="BT", fused=scaled, reference=scaled, inputs=inputs, shapes=((2, 3), (4, 8)),
    small_shapes=((1, 1), (1, 2)), defaults=((4, 8),), baselines={"twice": make_twice},
    aims={(4, 8): {"eager": 2.0, "compiled": 1.2}}, reduction=lambda shape: 1,
    moved_bytes=lambda shape, dtype, *, backward=False: 2 * shape[0] * shape[1] * dtype.itemsize,
    operations=lambda shape, *, backward=False: shape[0] * shape[1],
)  # fmt: skip
OPTIONS = {"compile": False, "seconds_a_figure": 0.001}


@pytest.fixture
def ops(monkeypatch):
    for module in (bench_ops, ops_check):
        monkeypatch.setattr(module, "OPS", {"scaled": SPEC})
    monkeypatch.setattr(ops_timing, "COPY_MIB", 16)
    monkeypatch.setattr(ops_timing, "SQUARE", 512)


def row(shape, way, ms, *, graph_ms=None, error="") -> Row:
    return Row(
        op="scaled", shape=shape, letters="BT", dtype="bfloat16", way=way, part="forward_backward", host_ms=ms,
        graph_ms=graph_ms, ceiling_ms=0.5, error=error,
    )  # fmt: skip


def test_every_way_is_timed_at_every_shape_asked_for(ops, tmp_path, capsys):
    path = tmp_path / "new" / "ops.json"
    assert bench_ops.run(shapes="all", correct=True, json=str(path), **OPTIONS) == 0
    told = json.loads(path.read_text())
    found = [(tuple(row["shape"]), row["way"], row["part"]) for row in told["rows"]]
    assert found == [
        (shape, way, part)
        for shape in ((4, 8), (2, 3))  # default shapes come first
        for way in ("fused", "eager", "twice")
        for part in ("forward", "forward_backward")
    ]
    for one in told["rows"]:
        values = one["shape"][0] * one["shape"][1] * (2 if one["part"] == "forward_backward" else 1)
        speed = told["ceilings"]
        least = max(8 * values / speed["bytes_per_s"], values / speed["operations_per_s"])
        assert one["ceiling_ms"] == pytest.approx(1e3 * least)
        assert one["host_ms"] > 0
        assert one["graph_ms"] is None
    assert {one["ok"] for one in told["checks"]} == {True}
    assert "scaled B 4, T 8 fused forward: host" in capsys.readouterr().out
    assert "scaled B 4, T 8 fused forward: host" in path.with_suffix(".log").read_text()
    assert set(told["ratios"]) == {f"scaled {shape} fused_over_{way}" for shape in ("4x8", "2x3") for way in ("eager", "twice")}


def test_rows_are_kept_when_it_is_stopped(ops, tmp_path, monkeypatch):
    """Every figure is in both files before the next is begun, and no draft is left."""
    path, seen = tmp_path / "ops.json", []
    time_way = ops_timing.time_way

    def watched(*args, **options):
        if path.exists():
            seen.append((len(json.loads(path.read_text())["rows"]), path.with_suffix(".log").read_text().count("ceiling ")))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return time_way(*args, **options)

    monkeypatch.setattr(ops_timing, "time_way", watched)
    with pytest.raises(KeyboardInterrupt):
        bench_ops.run(shapes="all", json=str(path), **OPTIONS)
    assert seen == [(1, 1), (2, 2), (3, 3)]
    assert len(json.loads(path.read_text())["rows"]) == 3
    assert {file.name for file in tmp_path.iterdir()} == {"ops.json", "ops.log"}


def test_it_stops_by_itself_when_its_seconds_are_over(ops, tmp_path, monkeypatch, capsys):
    clock = iter(range(100))
    monkeypatch.setattr(bench_ops, "time", SimpleNamespace(monotonic=lambda: next(clock)))  # other threads keep theirs
    assert bench_ops.run(shapes="all", seconds=4.0, json=str(tmp_path / "ops.json"), **OPTIONS) == 0
    assert len(json.loads((tmp_path / "ops.json").read_text())["rows"]) == 3
    assert "stopped after 4 s: 0 checks and 3 figures are kept" in capsys.readouterr().out


def test_what_fails_is_told_and_the_others_are_timed(ops):
    def broken(x, factor):
        raise RuntimeError("no such kernel\nand more")

    limits = bench_ops.ceilings(torch.float32, device="cpu")
    options = {"dtype": torch.float32, "device": "cpu", "limits": limits, "compiled": False, "seconds": 0.001}
    spec = OpSpec(**{name: getattr(SPEC, name) for name in SPEC.__dataclass_fields__} | {"fused": broken})
    rows = list(bench_ops.measure(spec, (4, 8), **options))
    assert [one.way for one in rows] == ["fused", "fused", "eager", "eager", "twice", "twice"]
    assert {one.error for one in rows[:2]} == {"RuntimeError: no such kernel"}
    assert all(one.ms is None for one in rows[:2])
    assert all(one.ms > 0 for one in rows[2:])
    assert "FAILED RuntimeError: no such kernel" in bench_ops.describe_row(rows[0])
    assert not rows[0].fatal
    assert row((2, 3), "fused", None, error="AcceleratorError: CUDA error: an illegal memory access").fatal


def test_a_backward_pass_reaches_every_input_that_wants_a_gradient():
    rival = Baseline.of(scaled, inputs((2, 3), dtype=torch.float32, device="cpu", seed=0))
    (gradient,) = make_step(rival, backward=True)()
    assert torch.equal(gradient, torch.full((2, 3), 3.0))
    assert not make_step(rival, backward=False)().requires_grad


def test_the_rivals_drop_as_torch_does(monkeypatch):
    """Eager, published and compiled get no seed, so that no hash is computed in them."""
    seeds = {}

    def noted(spec, shape, way, rival, **options):
        seeds[way] = rival.arguments.get("seed", "none is asked for")
        return row(shape, way, 1.0)

    monkeypatch.setattr(ops_timing, "time_way", noted)
    limits = ops_timing.Ceilings(bytes_per_s=1.0, operations_per_s=1.0)
    for name in ("temporal_block", "mmoe"):
        spec = OPS[name]
        seeds.clear()
        list(bench_ops.measure(spec, spec.small_shapes[1], dtype=torch.float32, device="cpu", limits=limits))
        assert set(seeds) == {"fused", "eager", "published", "compiled", "published_compiled"}
        parts = {"compiled": False}, {"plain": False}
        options = {"dtype": torch.float32, "device": "cpu", "limits": limits}
        ways = [{r.way for r in bench_ops.measure(spec, spec.small_shapes[1], **options, **part)} for part in parts]
        assert ways == [{"fused", "eager", "published"}, {"compiled", "published_compiled"}]
        assert isinstance(seeds.pop("fused"), torch.Tensor)
        assert set(seeds.values()) <= {None, "none is asked for"}


def test_an_aim_is_judged_by_the_graphs_time_and_a_slow_shape_is_named():
    rows = [row((4, 8), "eager", 9.0, graph_ms=4.0), row((4, 8), "compiled", 9.0, graph_ms=2.0)]
    rows += [row((4, 8), "fused", 9.0, graph_ms=1.9), row((2, 3), "eager", 1.0), row((2, 3), "fused", 1.5)]
    told = list(bench_ops.verdicts(rows, [SPEC], gpu=True))
    assert [line.partition(": ")[2].partition(", the")[0] for line in told[:2]] == ["2.11 x eager", "1.05 x compiled"]
    assert [line.rpartition(" ")[2] for line in told[:2]] == ["met", "MISSED"]
    assert len(told) == 3
    assert "(2, 3): fused is slower than eager" in told[2]
    assert bench_ops.compute_ratios(rows)["scaled 4x8 fused_over_eager"] == pytest.approx(4 / 1.9)
    assert list(bench_ops.verdicts(rows, [SPEC], gpu=False)) == []
    assert "was not measured" in next(bench_ops.verdicts(rows[3:], [SPEC], gpu=True))


def test_a_wrong_operation_is_told(ops, monkeypatch, capsys):
    found = [Deviation(name="output 0", discrepancy=0.5, tolerance=0.1), Deviation(name="x", discrepancy=0.05, tolerance=0.1)]
    monkeypatch.setattr(ops_check, "compare", lambda *args, **options: found)
    assert [one.ok for one in bench_ops.check("cpu", ops=["scaled"])] == [False, True]
    assert bench_ops.run(correct=True, shapes="small", **OPTIONS) == 1
    assert "check scaled 1x2 float32 chosen output 0: 0.5 of 0.1 WRONG" in capsys.readouterr().out

    def refused(*args, **options):
        raise RuntimeError("out of shared memory")

    monkeypatch.setattr(ops_check, "compare", refused)
    (one,) = bench_ops.check("cpu", ops=["scaled"])
    assert (one.ok, one.error) == (False, "RuntimeError: out of shared memory")


def test_a_check_on_a_gpu_begins_with_the_default_shapes_and_asks_for_every_way():
    cases = ops_check.cases("cuda")
    defaults = sum(len(spec.defaults) for spec in OPS.values())
    assert [(spec.name, shape) for spec, shape, *_ in cases[:defaults]] == [
        (spec.name, shape) for spec in OPS.values() for shape in spec.defaults
    ]
    ways = {(spec.name, way) for spec, *_, way in cases}
    asked = {(op, way) for op, own in choices.WAYS.items() for way in own if way != "kernels"}
    assert asked <= ways
    assert {dtype for *_, dtype, _ in cases} == {torch.bfloat16, torch.float32, torch.float16}


def test_the_fastest_way_goes_into_the_table():
    ways = {"two_pass": Choice(way="two_pass"), "library": Choice(way="library")}
    rows = [row((8, 345, 64, 64), "two_pass", 1.0, graph_ms=0.9), row((8, 345, 64, 64), "library", 2.0, graph_ms=0.8)]
    line = ops_table.choose_line("temporal_block", (8, 345, 64, 64), torch.bfloat16, ways, rows, device="A")
    assert line == TableRow(
        op="temporal_block", device="A", dtype="bfloat16", sizes=(2760, 64, 64), choice=Choice(way="library"),
        ms={"two_pass": 0.9, "library": 0.8},
    )  # fmt: skip
    failed = [row((8, 345, 64, 64), "two_pass", None, error="RuntimeError: no")]
    with pytest.raises(ValueError, match="no way of it ran"):
        ops_table.choose_line("temporal_block", (8, 345, 64, 64), torch.bfloat16, ways, failed, device="A")


def test_every_line_is_in_the_file_before_the_next_is_measured(tmp_path, monkeypatch):
    def line(rows: int, way: str) -> TableRow:
        return TableRow(op="mmoe_experts", device="A", dtype="bfloat16", sizes=(rows, 4, 4, 4), choice=Choice(way=way))

    path, write = tmp_path / "choices.json", choices.write_table
    monkeypatch.setattr(choices, "TABLE", [line(1, "fused"), line(2, "fused")])
    monkeypatch.setattr(choices, "write_table", lambda lines: write(lines, path))
    monkeypatch.setattr(
        bench_ops, "measure_lines", lambda *args, **options: iter([line(2, "library_products"), line(3, "fused")])
    )
    limits = ops_timing.Ceilings(bytes_per_s=1.0, operations_per_s=1.0)
    journal = bench_ops.ResultsLog(path=None, where={}, limits=limits)
    counts = [len(choices.read_table(path)) for _ in bench_ops.fill_table(journal, dtype=torch.bfloat16, seconds=0.1)]
    assert counts == [2, 3]
    assert [one.choice.way for one in choices.read_table(path)] == ["fused", "library_products", "fused"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"op": "nothing"}, "op='nothing' must be one of temporal_block"),
        ({"shapes": "some"}, "auto, all, default, small"),
        ({"dtype": "int8"}, "dtype='int8' must be auto"),
        ({"seconds": 0.0}, "above 0"),
        ({"seconds_a_figure": 0.0}, "above 0"),
        ({"write_table": True}, "needs an NVIDIA GPU"),
    ],
)
def test_mistakes_are_told(given, said):
    with pytest.raises(ValueError, match=said):
        bench_ops.run(**given)
