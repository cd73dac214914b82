"""The table that chooses between the ways of all operations."""

from dataclasses import replace

import pytest
import torch

from tarpon.models.ops import OPS, choices
from tarpon.models.ops.choices import WAYS, Choice, TableRow, Tile, find_choice, force_choice, read_table, write_table
from tarpon.models.ops.launch import ASSUMED
from tarpon.models.ops.mmoe.tiles import choose_experts, choose_mixture
from tarpon.models.ops.tcn.tiles import candidates, choose

LINES = [
    TableRow(
        op="temporal_block",
        device="A",
        dtype="bfloat16",
        sizes=(2760, 512, 512),
        choice=candidates("temporal_block", (8, 345, 512, 512), torch.bfloat16, limits=ASSUMED)["two_pass 128x128"],
        ms={"two_pass 128x128": 0.1, "library": 0.2},
    ),
    TableRow(op="temporal_block", device="B", dtype="bfloat16", sizes=(2760, 512, 512), choice=Choice(way="library")),
    TableRow(op="mmoe_experts", device="A", dtype="bfloat16", sizes=(4096, 64, 128, 4), choice=Choice(way="fused")),
    TableRow(op="mmoe", device="A", dtype="bfloat16", sizes=(4096, 64, 128, 4, 3), choice=Choice(way="library")),
]


@pytest.fixture(autouse=True)
def table(tmp_path, monkeypatch):
    """The lines above, written and in use."""
    monkeypatch.setattr(choices, "TABLE", [])
    write_table(LINES, tmp_path / "choices.json")
    return tmp_path / "choices.json"


def ask(rows: int = 2760, *, op: str = "temporal_block", widths=(512, 512), dtype=torch.bfloat16, device="A") -> str | None:
    found = find_choice(op, sizes=(rows, *widths), dtype=dtype, device=device)
    return found and found.way


def test_it_comes_back_as_it_was_written(table):
    assert list(read_table(table)) == LINES == choices.TABLE
    assert len(table.read_text().splitlines()) == len(LINES) + 2
    assert read_table(table.with_name("none.json")) == ()


@pytest.mark.parametrize("text", ['[{"op": "temporal_block"}]', "{", '[{"rows": 5}]'])
def test_a_broken_one_is_explained(table, text):
    table.write_text(text)
    with pytest.raises(ValueError, match=r"choices\.json.*write it anew with `tarpon bench ops --write_table`"):
        read_table(table)


def test_widths_and_dtype_must_agree_and_rows_be_near():
    assert ask() == ask(1400) == ask(5500) == "two_pass"
    assert ask(1379) is ask(5521) is ask(0) is None
    assert ask(widths=(512, 256)) is ask(dtype=torch.float16) is ask(op="temporal_block_clip") is None


def test_a_line_of_the_same_gpu_comes_first():
    assert ask(device="B") == "library"
    assert ask(device="C") == "two_pass"


def test_both_operations_ask_it():
    sizes = {"features": 64, "hidden": 128, "experts": 4, "dtype": torch.bfloat16, "device": "A"}
    assert (choose_experts(rows=4096, **sizes), choose_experts(rows=1000, **sizes)) == ("fused", "library_products")
    assert choose_experts(rows=64, **sizes) == "fused"  # by rule: few rows
    assert choose_experts(rows=64, **sizes | {"dtype": torch.float32}) == "library_products"
    assert (choose_mixture(rows=4096, tasks=3, **sizes), choose_mixture(rows=4096, tasks=4, **sizes)) == ("library", "kernels")
    taken = choose("temporal_block", (8, 345, 512, 512), torch.bfloat16, limits=ASSUMED, device="A")
    assert (taken.way, taken.tiles["forward"].rows) == ("two_pass", 128)
    small = replace(ASSUMED, shared_bytes=99 * 2**10)  # the line was measured on a GPU with more
    assert choose("temporal_block", (8, 345, 512, 512), torch.bfloat16, limits=small, device="A").tiles["forward"].stages == 3
    less = replace(ASSUMED, shared_bytes=64 * 2**10)
    assert choose("temporal_block", (8, 345, 512, 512), torch.bfloat16, limits=less, device="A").tiles["forward"].stages == 2


def test_a_forced_choice_is_taken_and_given_back():
    with force_choice("temporal_block", Choice(way="one_pass")):
        with force_choice("temporal_block", Choice(way="library")):
            assert ask() == "library"
        assert ask() == "one_pass"
    assert ask() == "two_pass"
    with (
        pytest.raises(ValueError, match="way='fused' of temporal_block must be one of one_pass"),
        force_choice("temporal_block", Choice(way="fused")),
    ):
        pass


def test_mistakes_are_explained():
    assert set(WAYS) <= set(OPS)
    for change, message in (
        ({"op": "other"}, "op='other'"),
        ({"choice": Choice(way="fused")}, "way='fused' of temporal_block"),
        ({"op": "temporal_block_clip", "choice": Choice(way="one_pass")}, "way='one_pass'"),
        ({"ms": {"library": 0.0}}, "positive"),
        ({"sizes": (0, 1)}, "positive"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(LINES[0], **change)
    for change, message in (({"rows": 24}, "rows=24"), ({"warps": 3}, "warps=3"), ({"stages": 0}, "stages=0")):
        with pytest.raises(ValueError, match=message):
            Tile(**{"rows": 32, "columns": 32} | change)
