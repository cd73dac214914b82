"""The benchmark of fused operations: what it times is what it says, and its figures add up."""

import json

import pytest
import torch

from tarpon.models.ops.spec import OpSpec
from tarpon.tools.bench import ops as bench_ops


def scaled(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return x * factor


def inputs(shape, *, dtype, device, seed):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)
    return {"x": values.requires_grad_(), "factor": torch.tensor(3.0, dtype=dtype)}


SPEC = OpSpec(
    name="scaled", letters="BT", fused=scaled, reference=scaled, inputs=inputs, shapes=((4, 8), (2, 3)), small_shapes=((1, 1),),
    defaults=((4, 8),), rivals={"twice": lambda x, factor: x * factor * 1},
    moved_bytes=lambda shape, dtype, *, backward=False: 2 * shape[0] * shape[1] * dtype.itemsize,
    operations=lambda shape, *, backward=False: shape[0] * shape[1],
)  # fmt: skip


@pytest.fixture
def ops(monkeypatch):
    monkeypatch.setattr(bench_ops, "OPS", {"scaled": SPEC})
    monkeypatch.setattr(bench_ops, "COPY_MIB", 16)
    monkeypatch.setattr(bench_ops, "SQUARE", 512)


def test_every_way_is_timed_at_every_shape_asked_for(ops, tmp_path, capsys):
    path = tmp_path / "ops.json"
    assert bench_ops.run(shapes="all", compile=False, seconds=0.001, json=str(path)) == 0
    told = json.loads(path.read_text())
    assert {(tuple(row["shape"]), row["way"], row["part"]) for row in told["rows"]} == {
        (shape, way, part) for shape in SPEC.shapes for way in ("eager", "fused", "twice") for part in ("forward", "both")
    }
    for row in told["rows"]:
        values = row["shape"][0] * row["shape"][1] * (2 if row["part"] == "both" else 1)
        assert (row["bytes_moved"], row["operations"]) == (8 * values, values)
        assert row["of_copy"] == pytest.approx(8 * values / (row["ms"] / 1e3) / told["ceilings"]["bytes_per_s"])
        assert row["of_product"] == pytest.approx(values / (row["ms"] / 1e3) / told["ceilings"]["operations_per_s"])
    assert "scaled: B 4, T 8" in capsys.readouterr().out


def test_a_backward_pass_reaches_every_input_that_wants_a_gradient():
    given = inputs((2, 3), dtype=torch.float32, device="cpu", seed=0)
    (gradient,) = bench_ops.steps(scaled, given, [given["x"]], backward=True)()
    assert torch.equal(gradient, torch.full((2, 3), 3.0))
    assert not bench_ops.steps(scaled, given, [given["x"]], backward=False)().requires_grad


def test_an_aim_is_judged_at_the_default_shape_and_a_slow_shape_is_named():
    def row(shape, way, ms):
        return bench_ops.Row(
            op="scaled", shape=shape, letters="BT", way=way, part="both", ms=ms, bytes_moved=1, operations=1, of_copy=0.0,
            of_product=0.0,
        )  # fmt: skip

    rows = [row((4, 8), "eager", 4.0), row((4, 8), "compiled", 2.0), row((4, 8), "fused", 1.9)]
    rows += [row((2, 3), "eager", 1.0), row((2, 3), "fused", 1.5)]
    told = list(bench_ops.verdicts(rows, [SPEC], gpu=True))
    assert [line.partition(", the")[0] for line in told[:2]] == [
        "scaled (4, 8): 2.11 x eager",
        "scaled (4, 8): 1.05 x compiled",
    ]
    assert [line.rpartition(" ")[2] for line in told[:2]] == ["met", "MISSED"]
    assert len(told) == 3
    assert "(2, 3)" in told[2]
    assert bench_ops.ratios(rows)["scaled 4x8 fused_over_eager"] == pytest.approx(4 / 1.9)
    assert list(bench_ops.verdicts(rows, [SPEC], gpu=False)) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"op": "nothing"}, "op='nothing' must be one of temporal_block"),
        ({"shapes": "some"}, "auto, all or default"),
        ({"dtype": "int8"}, "dtype='int8' must be auto"),
        ({"seconds": 0.0}, "above 0"),
        ({"write_table": True}, "needs an NVIDIA GPU"),
    ],
)
def test_mistakes_are_told(given, said):
    with pytest.raises(ValueError, match=said):
        bench_ops.run(**given)
