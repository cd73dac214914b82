"""Ways and tiles where nothing was measured: they fit the GPU and fill it."""

from dataclasses import replace

import pytest
import torch

from tarpon.models.ops.launch import ASSUMED, Limits, cdiv
from tarpon.models.ops.mmoe.tiles import product_blocks
from tarpon.models.ops.tcn.tiles import PRODUCTS, candidates, heuristic, row_tile

REGISTERS = 128  # a thread of sums
SMALL_GPU = Limits(processors=48, shared_bytes=99 * 2**10)
LIMITS = pytest.mark.parametrize("limits", [ASSUMED, SMALL_GPU], ids=["large", "small"])


def assert_fits(choice, hidden: int, dtype: torch.dtype, limits: Limits) -> None:
    for name, tile in choice.tiles.items():
        columns = max(hidden, 16) if choice.way == "one_pass" and name == "forward" else tile.columns
        assert (tile.rows + columns) * tile.depth * tile.stages * dtype.itemsize <= limits.shared_bytes
        assert tile.rows * columns / (32 * tile.warps) <= REGISTERS


@LIMITS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("hidden", [8, 128, 200, 256, 512, 1024])
@pytest.mark.parametrize("rows", [120, 5_000, 28_800, 10**6])
def test_tiles_fit(rows, hidden, dtype, limits):
    for op in ("temporal_block", "temporal_block_clip"):
        chosen = heuristic(op, (1, rows, 64, hidden), dtype, limits=limits)
        assert set(chosen.tiles) == set(PRODUCTS)
        assert_fits(chosen, hidden, dtype, limits)
        if chosen.way != "library_products":
            assert all(tile.rows >= 64 for tile in chosen.tiles.values())


def way(op: str, shape: tuple, dtype: torch.dtype = torch.bfloat16) -> str:
    return heuristic(op, shape, dtype, limits=ASSUMED).way


def test_shape_norm_and_dtype_decide():
    assert way("temporal_block", (16, 1800, 256, 256)) == "one_pass"
    assert way("temporal_block", (16, 1800, 256, 512)) == "two_pass"
    assert way("temporal_block_clip", (16, 1800, 256, 256)) == "two_pass"
    assert way("temporal_block", (16, 1800, 256, 256), torch.float32) == "library_products"


def test_few_rows_are_shared_out():
    """360 rows: 6 programs of whole rows would leave 126 of 132 multiprocessors idle."""
    chosen = heuristic("temporal_block", (2, 180, 512, 256), torch.bfloat16, limits=ASSUMED)
    tile = chosen.tiles["forward"]
    assert chosen.way == "two_pass"
    assert cdiv(360, tile.rows) * cdiv(256, tile.columns) == 48
    assert way("temporal_block", (2, 180, 512, 256)) == "two_pass"
    few = Limits(processors=4, shared_bytes=ASSUMED.shared_bytes)
    assert heuristic("temporal_block", (2, 180, 512, 256), torch.bfloat16, limits=few).way == "one_pass"


@pytest.mark.parametrize(("channels", "hidden"), [(328, 328), (200, 256), (256, 328), (512, 520)])
def test_odd_widths_take_the_librarys_products(channels, hidden):
    for op in ("temporal_block", "temporal_block_clip"):
        assert way(op, (16, 1800, channels, hidden)) == "library_products"


@pytest.mark.parametrize("hidden", [1, 16, 200, 1024, 8192])
def test_row_tiles_hold_whole_rows(hidden):
    rows, columns = row_tile(hidden)
    assert columns >= hidden
    assert columns & (columns - 1) == 0 < rows


@LIMITS
@pytest.mark.parametrize(
    ("op", "hidden", "there"),
    [
        ("temporal_block", 256, {"one_pass", "two_pass", "library_products", "library"}),
        ("temporal_block", 512, {"two_pass", "library_products", "library"}),
        ("temporal_block_clip", 128, {"two_pass", "library_products", "library"}),
    ],
)
@pytest.mark.parametrize("rows", [120, 10**5])
def test_candidates_can_do_the_shape_and_fit(op, hidden, there, rows, limits):
    for dtype in (torch.bfloat16, torch.float32):
        ways = candidates(op, (1, rows, 64, hidden), dtype, limits=limits)
        assert {choice.way for choice in ways.values()} == there
        forward = [choice.tiles["forward"] for choice in ways.values() if choice.way == "two_pass"]
        assert len(set(forward)) == len(forward) == 4
        for choice in ways.values():
            assert_fits(choice, hidden, dtype, limits)


@LIMITS
@pytest.mark.parametrize("left", [torch.float32, torch.bfloat16], ids=str)
def test_a_16_bit_product_is_64_deep_whatever_its_left_side_is(left, limits):
    size, options = product_blocks(4096, 2048, 1024, left=left, right=torch.bfloat16, limits=limits)
    assert size == {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 64}
    stage = 64 * 128 * (left.itemsize + 2)
    assert options["num_stages"] == 1 or options["num_stages"] * stage <= limits.shared_bytes
    if limits is ASSUMED:
        assert options == {"num_warps": 8, "num_stages": 3}
    size, _ = product_blocks(4096, 2048, 1024, left=torch.float32, right=torch.float32, limits=limits)
    assert size["BLOCK_K"] == 32
    assert (
        product_blocks(1, 9, 5, left=left, right=torch.bfloat16, limits=replace(limits, shared_bytes=1))[1]["num_stages"] == 1
    )
