"""The temporal block's way and tiles where the table has no row, and the candidates to measure.

A program's stages of two tiles must fit the GPU's shared memory, its sums (rows * columns float32 over 32 * warps threads) the
registers; Hopper's tensor cores want 64 rows.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from tarpon.models.ops.choices import LIBRARY, WAYS, Choice, Tile, find_choice
from tarpon.models.ops.launch import Limits, cdiv, next_power

PRODUCTS = ("forward", "input_gradient", "weight_gradient")
ONE_PASS_COLUMNS = 256  # all channels of a row in one program: 64 registers a thread of sums at this width
WIDTH_STEP = 16  # other widths have no aligned rows: their loads are single values and the kernels' addresses spill
ROW_VALUES = 4096  # values of a program that works on whole rows
LARGE = Tile(rows=128, columns=128, warps=8)
WIDE = Tile(rows=64, columns=128)
MIDDLE = Tile(rows=64, columns=64)
SMALL = Tile(rows=64, columns=32)

Shape = tuple[int, int, int, int]  # B, T, C, H


def choose(op: str, shape: Shape, dtype: torch.dtype, *, limits: Limits, device: str) -> Choice:
    """The way and all three tiles of a call: the table's, else the heuristic's; tiles are cut to the GPU's shared memory.

    Args:
        op: "temporal_block" | "temporal_block_clip".
        dtype: of the values that are multiplied.
        device: the GPU's name.
    """
    batch, frames, channels, hidden = shape
    safe = heuristic(op, shape, dtype, limits=limits)
    found = find_choice(op, sizes=(batch * frames, channels, hidden), dtype=dtype, device=device)
    if found is None:
        return safe
    own = dict(whole_row_tile(hidden)) if found.way == "one_pass" and safe.way != "one_pass" else {}
    return fit(replace(found, tiles={**safe.tiles, **own, **found.tiles}), hidden, dtype, limits=limits)


def heuristic(op: str, shape: Shape, dtype: torch.dtype, *, limits: Limits) -> Choice:
    """The choice expected to be fastest, without a measurement.

    "one_pass" only where 64 rows a program fill the GPU once: at 360 rows it would be 6 programs of 132 possible.
    """
    batch, frames, channels, hidden = shape
    rows = batch * frames
    tiles = {
        "forward": product_tile(rows, hidden, limits=limits),
        "input_gradient": product_tile(rows, channels, limits=limits),
        "weight_gradient": WIDE,
    }
    way = "two_pass"
    # No tensor core multiplies float32 exactly, and the library's own loops are the better ones.
    if dtype == torch.float32 or channels % WIDTH_STEP or hidden % WIDTH_STEP:
        way = "library_products"
    elif can_one_pass(op, hidden) and cdiv(rows, 64) >= limits.processors:
        way, tiles = "one_pass", tiles | whole_row_tile(hidden)
    return fit(Choice(way=way, tiles=tiles), hidden, dtype, limits=limits)


def product_tile(rows: int, columns: int, *, limits: Limits) -> Tile:
    """The large tile where there are two of it for every multiprocessor, the middle one where there is one; else the small."""
    for tile, each in ((LARGE, 2), (MIDDLE, 1)):
        if cdiv(rows, tile.rows) * cdiv(columns, tile.columns) >= each * limits.processors:
            return tile
    return SMALL


def can_one_pass(op: str, hidden: int) -> bool:
    """Whether a program can hold all channels of a row, as the norm needs."""
    return "one_pass" in WAYS[op] and next_power(hidden) <= ONE_PASS_COLUMNS


def whole_row_tile(hidden: int) -> dict[str, Tile]:
    """Of "one_pass": its `columns` are not read, as a program has whole rows."""
    return {"forward": Tile(rows=64, columns=64, warps=8 if next_power(hidden) > 64 else 4)}


def fit(choice: Choice, hidden: int, dtype: torch.dtype, *, limits: Limits) -> Choice:
    """The choice with fewer stages, then shallower steps, where a program would exceed the shared memory."""

    def cut(name: str, tile: Tile) -> Tile:
        whole = choice.way == "one_pass" and name == "forward"
        columns = max(next_power(hidden), 16) if whole else tile.columns
        while (tile.rows + columns) * tile.depth * dtype.itemsize * tile.stages > limits.shared_bytes:
            if tile.stages > 2:
                tile = replace(tile, stages=tile.stages - 1)
            elif tile.depth > 16:
                tile = replace(tile, depth=tile.depth // 2)
            else:
                break
        return tile

    return replace(choice, tiles={name: cut(name, tile) for name, tile in choice.tiles.items()})


def candidates(op: str, shape: Shape, dtype: torch.dtype, *, limits: Limits) -> Mapping[str, Choice]:
    """Name -> choice, of all to measure at a shape: every possible way, and tiles beside the heuristic's."""
    batch, frames, _, hidden = shape
    safe = heuristic(op, shape, dtype, limits=limits).tiles
    found: dict[str, Choice] = {}
    if can_one_pass(op, hidden):
        found["one_pass"] = Choice(way="one_pass", tiles={**safe, **whole_row_tile(hidden)})
    first = product_tile(batch * frames, hidden, limits=limits)
    found["two_pass"] = Choice(way="two_pass", tiles={**safe, "forward": first})
    for tile in (SMALL, MIDDLE, WIDE, LARGE):
        if tile != first:
            name = f"two_pass {tile.rows}x{tile.columns}"
            found[name] = Choice(way="two_pass", tiles={**safe, "forward": tile, "input_gradient": tile})
    found["library_products"] = Choice(way="library_products", tiles=safe)
    fitted = {name: fit(choice, hidden, dtype, limits=limits) for name, choice in found.items()}
    return fitted | {LIBRARY: Choice(way=LIBRARY)}


def row_tile(hidden: int) -> tuple[int, int]:
    """(rows, columns) of a program that works on whole rows of `hidden` values."""
    columns = max(next_power(hidden), 16)
    return max(ROW_VALUES // columns, 1), columns
