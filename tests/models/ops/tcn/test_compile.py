"""Every kernel of the temporal block compiles for an H200, with the arguments its launcher gives it, and fits."""

import pytest
import torch

from tarpon.models.ops.choices import Choice, force_choice
from tarpon.models.ops.dropout import draw_seed
from tarpon.models.ops.launch import ASSUMED
from tarpon.models.ops.tcn import launch as tcn_launch
from tarpon.models.ops.tcn.reference import GROUPS
from tarpon.models.ops.tcn.tiles import heuristic

PRODUCTS = {"block_kernel", "conv_kernel", "input_gradient_kernel", "weight_gradient_kernel"}
WAYS = {
    "one_pass": {"block_kernel", "norm_gradient_kernel", "input_gradient_kernel", "weight_gradient_kernel"},
    "two_pass": {"conv_kernel", "apply_kernel", "norm_gradient_kernel", "input_gradient_kernel", "weight_gradient_kernel"},
    "library_products": {"apply_kernel", "norm_gradient_kernel"},
}
NORMS = {"frame": set(), "clip": {"clip_kernel", "clip_gradient_kernel"}}


def launch_all(shape, dtype, *, norm: str = "frame", dropout: float = 0.3, taps: int = 3) -> None:
    """Forward and backward below the device's dispatch; the values are whatever memory holds."""
    batch, frames, channels, hidden = shape
    x, valid = torch.zeros(batch, frames, channels, dtype=dtype), torch.ones(batch, frames, dtype=torch.uint8)
    weight, vector = torch.zeros(hidden, taps, channels, dtype=dtype), torch.zeros(hidden, dtype=dtype)
    project = None if channels == hidden else torch.zeros(hidden, channels, dtype=dtype)
    call = tcn_launch.describe(x, weight, draw_seed() if dropout else None, 4, False, norm, dropout, 1e-5)
    given = (x, valid, weight, vector, vector, vector, project, None if project is None else vector)
    y, *saved = tcn_launch.forward(call, *given, save=True)
    assert y.shape == (batch, frames, hidden)
    assert saved[1].shape == ((batch, GROUPS) if norm == "clip" else (batch * frames,))
    dx, dweight, _, vectors = tcn_launch.backward(call, y, x, valid, weight, vector, vector, project, saved, want_x=True)
    assert (dx.shape, dweight.shape, vectors.shape) == (x.shape, weight.shape, (4, hidden))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("shape", "norm"),
    [
        ((16, 1800, 256, 256), "frame"),  # one pass
        ((16, 1800, 512, 256), "frame"),  # with projection
        ((2, 180, 512, 256), "frame"),  # few rows
        ((16, 1800, 768, 128), "frame"),
        ((16, 1800, 512, 512), "frame"),  # two passes, large tiles
        ((2, 180, 512, 1024), "clip"),
        ((1, 5, 37, 40), "clip"),  # addresses that divide by nothing: the library's products
        ((2, 333, 200, 328), "frame"),
    ],
    ids=str,
)
def test_chosen_kernels_compile_and_fit(compiled, shape, norm, dtype):
    launch_all(shape, dtype, norm=norm)
    op = {"frame": "temporal_block", "clip": "temporal_block_clip"}[norm]
    way = heuristic(op, shape, dtype, limits=ASSUMED).way
    assert {kernel.metadata.name for kernel in compiled} == WAYS[way] | NORMS[norm]
    for kernel in compiled:
        assert kernel.metadata.shared <= ASSUMED.shared_bytes, kernel.metadata.name
        tensor_cores = "wgmma" in kernel.asm["ptx"] or "mma.sync" in kernel.asm["ptx"]
        assert tensor_cores == (kernel.metadata.name in PRODUCTS)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["one_pass", "two_pass"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_kernels_that_are_not_chosen_compile_too(compiled, way, dtype):
    with force_choice("temporal_block", Choice(way=way)):
        launch_all((2, 33, 64, 64), dtype, dropout=0.0, taps=5)
    assert all(kernel.metadata.shared <= ASSUMED.shared_bytes for kernel in compiled)
    assert {kernel.metadata.name for kernel in compiled} == WAYS[way]
