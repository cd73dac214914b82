"""The mixture's way, and its tiles where the table has no row."""

import torch

from tarpon.models.ops.choices import Choice, find_choice
from tarpon.models.ops.launch import Limits, next_power

FEW_ROWS = 128


def choose_experts(*, dtype: torch.dtype, rows: int, features: int, hidden: int, experts: int, device: str) -> str:
    """The way of `mmoe_experts`: the table's, else `heuristic`."""
    sizes = (max(rows, 1), features, hidden, experts)
    found = find_choice("mmoe_experts", sizes=sizes, dtype=dtype, device=device)
    return heuristic(dtype=dtype, rows=rows).way if found is None else found.way


def choose_mixture(*, dtype: torch.dtype, rows: int, features: int, hidden: int, experts: int, tasks: int, device: str) -> str:
    """The way of `mmoe` as a whole: its kernels unless the table says that plain PyTorch is faster at this shape."""
    sizes = (max(rows, 1), features, hidden, experts, tasks)
    found = find_choice("mmoe", sizes=sizes, dtype=dtype, device=device)
    return "kernels" if found is None else found.way


def heuristic(*, dtype: torch.dtype, rows: int) -> Choice:
    """The way expected to be fastest, without a measurement.

    Equal groups make the products plain batched ones, at which cuBLAS has no equal: at 4096 rows, D 1024, H 2048, E 4 the
    passes that fusing saves are some 28 of 400 microseconds of an H200, less than cuBLAS's lead over a Triton product that
    takes its left side through registers. With few rows the weights' way from memory rules, not the arithmetic, and one
    launch instead of three wins. float32 stays with cuBLAS, which may use tf32 where the user allows it.
    """
    return Choice(way="fused" if rows <= FEW_ROWS and dtype.itemsize == 2 else "library_products")


def product_blocks(
    rows: int, columns: int, depth: int, *, left: torch.dtype, right: torch.dtype, limits: Limits
) -> tuple[dict[str, int], dict[str, int]]:
    """Block sizes of a product, and its warps and stages, as many of those (at most three) as shared memory holds.

    Args:
        left, right: dtypes of the two sides in memory. A float32 left side of a 16-bit product is narrowed on its way in, so
            that the depth is the product's, that of `right`.
    """
    block_m, block_n = (min(max(next_power(size), 16), 128) for size in (rows, columns))
    block_k = min(max(next_power(depth), 16), 64 if right.itemsize == 2 else 32)
    stage = block_k * (block_m * left.itemsize + block_n * right.itemsize)
    narrowed = 0 if left == right else block_k * block_m * right.itemsize  # the left side once more, as the product reads it
    stages = next((count for count in (3, 2) if count * stage + narrowed <= limits.shared_bytes), 1)
    warps = 8 if block_m * block_n == 128 * 128 else 4
    return {"BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": block_k}, {"num_warps": warps, "num_stages": stages}
