"""The temporal block's kernels on a GPU: at full size beside float64 there, and as a CUDA graph."""

import pytest
import torch

from tarpon.models.ops import OPS
from tarpon.models.ops.choices import Choice, force_choice
from tarpon.models.ops.compare import compare, run_with_gradients
from tarpon.models.ops.spec import find_leaves

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
NAMES = ("temporal_block", "temporal_block_clip")


def assert_right(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    found = compare(OPS[name], shape, dtype=dtype, device="cuda")
    assert all(one.ok for one in found), found


@pytest.mark.parametrize("shape", [(8, 345, 512, 512), (2, 180, 512, 256), (2, 333, 200, 328)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_chosen_way(name, shape):
    assert_right(name, shape, torch.bfloat16)


@pytest.mark.parametrize("way", ["one_pass", "two_pass", "library_products", "library"])
def test_every_way_with_many_rows(way):
    with force_choice("temporal_block", Choice(way=way)):
        assert_right("temporal_block", (16, 1800, 128, 128), torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_other_dtypes(dtype):
    assert_right("temporal_block", (3, 171, 64, 96), dtype)


def test_the_same_bits_twice():
    given = OPS["temporal_block"].inputs((4, 345, 256, 256), dtype=torch.bfloat16, device="cuda", seed=1)
    one, two = (run_with_gradients(OPS["temporal_block"].fused, given) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_backward_wait_for_nothing_and_replay_as_a_graph(name):
    from tarpon.tools.bench.ops_timing import capture

    given = OPS[name].inputs((2, 180, 512, 256), dtype=torch.bfloat16, device="cuda", seed=1)
    found: dict[str, torch.Tensor] = {}

    def step() -> None:
        y = OPS[name].fused(**given)
        wanted = find_leaves(given)
        # Detached: an output's graph would keep the leaves' autograd nodes, which belong to the stream of the first call; the
        # backward of the capture would have that stream wait for it, which CUDA refuses.
        slopes = torch.autograd.grad(y, list(wanted.values()), torch.ones_like(y))
        found.update(zip(wanted, slopes, strict=True), y=y.detach())

    step()
    want = {key: value.detach().clone() for key, value in found.items()}
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = capture(step)
    for value in found.values():
        value.detach().zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(value, want[key]) for key, value in found.items())
