"""The mixture's kernels on a GPU: at full size beside float64 there, and as a CUDA graph."""

import pytest
import torch

from tarpon.models.ops import OPS
from tarpon.models.ops.choices import Choice, force_choice
from tarpon.models.ops.compare import compare, run_with_gradients
from tarpon.models.ops.spec import find_leaves, measure_discrepancy, tolerance

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
NAMES = ("mmoe", "mmoe_experts", "mmoe_gates", "mmoe_mix")


def assert_right(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    found = compare(OPS[name], shape, dtype=dtype, device="cuda")
    assert all(one.ok for one in found), found


@pytest.mark.parametrize("name", NAMES)
def test_default_and_odd_shapes(name):
    for shape in (OPS[name].defaults[0], *OPS[name].small_shapes[1:4]):
        assert_right(name, shape, torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_other_dtypes(name, dtype):
    assert_right(name, OPS[name].small_shapes[1], dtype)


def test_many_rows():
    assert_right("mmoe", (4096, 1024, 2048, 4, 4), torch.bfloat16)


@pytest.mark.parametrize(
    ("name", "way"), [("mmoe_experts", "fused"), ("mmoe_experts", "library_products"), ("mmoe", "library")]
)
def test_every_way(name, way):
    with force_choice(name, Choice(way=way)):
        assert_right(name, OPS[name].shapes[0], torch.bfloat16)


def test_the_same_bits_twice():
    given = OPS["mmoe"].inputs((256, 384, 512, 4, 2), dtype=torch.bfloat16, device="cuda", seed=1)
    one, two = (run_with_gradients(OPS["mmoe"].fused, given) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("rows", [64, 256])
def test_forward_and_backward_wait_for_nothing_and_replay_as_a_graph(rows):
    """64 rows take the fused products, 256 the library's."""
    from tarpon.tools.bench.ops_timing import capture

    given = OPS["mmoe"].inputs((rows, 384, 512, 4, 2), dtype=torch.bfloat16, device="cuda", seed=1)
    found: dict[str, torch.Tensor] = {}

    def step() -> None:
        mixed, shares = OPS["mmoe"].fused(**given)
        wanted = find_leaves(given)
        slopes = torch.autograd.grad(mixed, list(wanted.values()), torch.ones_like(mixed))
        # Detached: an output's graph would keep the leaves' autograd nodes, which belong to the stream of the first call; the
        # backward of the capture would have that stream wait for it, which CUDA refuses.
        found.update(zip(wanted, slopes, strict=True), mixed=mixed.detach(), shares=shares.detach())

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
    # The library may take another algorithm while a graph is captured: not the same bits.
    assert all(measure_discrepancy(value, want[key]) < tolerance(torch.bfloat16, 512) for key, value in found.items())
