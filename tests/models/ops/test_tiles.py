"""Which variant and which tiles: what is chosen without a table, and that the table comes first."""

from dataclasses import replace

import pytest
import torch

from tarpon.models.ops import tiles as module
from tarpon.models.ops.tiles import TABLE, Tile, reasoned, row_tile, tiles

SHARED_BYTES, REGISTERS = 227 * 2**10, 128  # that a program may have; registers a thread of sums


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("hidden", [8, 128, 200, 256, 512, 1024])
@pytest.mark.parametrize("rows", [120, 5_000, 28_800, 10**6])
def test_tiles_fit(rows, hidden, dtype):
    chosen = reasoned(rows, hidden, dtype, whole_rows=True)
    for tile in (chosen.forward, chosen.input_gradient, chosen.weight_gradient):
        columns = 256 if chosen.variant == "one_pass" and tile is chosen.forward else tile.columns
        assert (tile.rows + columns) * tile.depth * tile.stages * 2 <= SHARED_BYTES
        assert tile.rows * columns / (32 * tile.warps) <= REGISTERS


def test_shape_norm_and_dtype_decide():
    def variant(op, hidden, dtype):
        return tiles(op, (16, 1800, 256, hidden), dtype).variant

    assert variant("temporal_block", 256, torch.bfloat16) == "one_pass"
    assert variant("temporal_block", 257, torch.bfloat16) == "two_pass"
    assert variant("temporal_block_clip", 256, torch.bfloat16) == "two_pass"
    assert variant("temporal_block", 256, torch.float32) == "library"


def test_what_was_measured_comes_first(monkeypatch):
    measured = reasoned(100, 1024, torch.bfloat16, whole_rows=False)
    monkeypatch.setitem(TABLE, ("temporal_block", 64, 64, torch.bfloat16), measured)
    assert tiles("temporal_block", (1, 100, 64, 64), torch.bfloat16) is measured
    assert tiles("temporal_block", (1, 100, 64, 64), torch.float16).variant == "one_pass"


@pytest.mark.parametrize("hidden", [1, 16, 200, 1024, 8192])
def test_row_tiles_hold_whole_rows(hidden):
    rows, columns = row_tile(hidden)
    assert columns >= hidden
    assert columns & (columns - 1) == 0 < rows


def test_mistakes_are_explained():
    with pytest.raises(ValueError, match="rows=24"):
        Tile(rows=24, columns=32)
    with pytest.raises(ValueError, match="one_pass, two_pass, library"):
        replace(reasoned(9, 9, torch.float32, whole_rows=True), variant="fast")


def test_a_table_comes_back_as_it_was_written(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "TABLE", {})
    found = {
        (op, 256, 256, dtype): module.candidates(op, (8, 345, 256, 256), dtype)[way]
        for op, way, dtype in (
            ("temporal_block", "one_pass", torch.bfloat16),
            ("temporal_block_clip", "library", torch.float16),
        )
    }
    module.record(found, tmp_path / "tiles.json")
    assert module.read_table(tmp_path / "tiles.json") == found == module.TABLE
    (tmp_path / "tiles.json").write_text('[{"op": "temporal_block"}]')
    with pytest.raises(ValueError, match="write it anew with `tarpon bench ops --write_table`"):
        module.read_table(tmp_path / "tiles.json")
    assert module.read_table(tmp_path / "none.json") == {}


@pytest.mark.parametrize(
    ("op", "hidden", "there"),
    [
        ("temporal_block", 256, {"one_pass", "two_pass", "library"}),
        ("temporal_block", 512, {"two_pass", "library"}),
        ("temporal_block_clip", 128, {"two_pass", "library"}),
    ],
)
@pytest.mark.parametrize("rows", [120, 10**5])
def test_candidates_can_do_the_shape_and_fit(op, hidden, there, rows):
    for dtype in (torch.bfloat16, torch.float32):
        ways = module.candidates(op, (1, rows, 64, hidden), dtype)
        assert ways.keys() == there
        for name, way in ways.items():
            assert way.variant == name
            columns = 256 if name == "one_pass" else way.forward.columns
            assert (way.forward.rows + columns) * way.forward.depth * way.forward.stages * 2 <= SHARED_BYTES
            assert way.forward.rows * columns / (32 * way.forward.warps) <= REGISTERS
