"""The temporal block's kernels against float64: every way, norm, dtype and edge, forward and every gradient."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tarpon.models.ops import OPS
from tarpon.models.ops.choices import FORCED, WAYS, Choice, Tile
from tarpon.models.ops.compare import measure_deviations, run_with_gradients
from tarpon.models.ops.dropout import draw_seed
from tarpon.models.ops.spec import find_leaves, tolerance
from tarpon.models.ops.tcn.block import block_op, temporal_block
from tarpon.models.ops.tcn.reference import temporal_block_reference
from tarpon.models.ops.tcn.tiles import PRODUCTS
from tarpon.models.temporal.tcn import TCN

BLOCK = 16  # rows and columns of the small tiles
NAMES = {"frame": "temporal_block", "clip": "temporal_block_clip"}
ways = pytest.mark.parametrize(("way", "norm"), [(way, norm) for norm, name in NAMES.items() for way in WAYS[name]])
kernel_ways = pytest.mark.parametrize(("way", "norm"), [("one_pass", "frame"), ("two_pass", "clip")])
of_frames = pytest.mark.parametrize("way", ["one_pass", "two_pass", "library_products"])


@pytest.fixture
def take():
    """Force a way, with small tiles: (way, norm)."""
    tile = Tile(rows=BLOCK, columns=BLOCK, depth=BLOCK)

    def put(way: str, norm: str) -> None:
        FORCED[NAMES[norm]] = Choice(way=way, tiles=dict.fromkeys(PRODUCTS, tile))

    yield put
    FORCED.clear()


def inputs(shape: tuple[int, ...], *, dtype=torch.float32, device="cpu", norm="frame", **options) -> dict[str, object]:
    return OPS[NAMES[norm]].inputs(shape, dtype=dtype, device=device, seed=1) | options


def assert_equals_float64(given: dict[str, object], *, dtype: torch.dtype, gaps: Callable | None = None) -> None:
    """gaps: what the upstream gradient goes through."""
    batch, frames, channels = given["x"].shape
    hidden, taps, _ = given["weight"].shape
    fused = temporal_block if gaps is None else lambda **inputs: gaps(temporal_block(**inputs))
    limit = tolerance(dtype, max(batch * frames, taps * max(channels, hidden)))
    found = measure_deviations(fused, temporal_block_reference, given, limit=limit)
    assert all(one.ok for one in found), found
    y = temporal_block(**given)
    assert y.dtype == dtype
    assert (y[~given["valid"]] == 0).all()


@pytest.mark.parametrize("shape", OPS["temporal_block"].small_shapes, ids=str)
@ways
def test_forward_and_gradients(way, norm, shape, device, take, poisoned):
    take(way, norm)
    assert_equals_float64(inputs(shape, device=device, norm=norm), dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@ways
def test_half_the_bits(way, norm, dtype, device, take, poisoned):
    shape = (3, 17, 40, 32)
    take(way, norm)
    assert_equals_float64(inputs(shape, dtype=dtype, device=device, norm=norm), dtype=dtype)


@pytest.mark.parametrize(("dilation", "causal"), [(1, False), (4, True), (40, False), (40, True)])
@of_frames
def test_dilation_and_padding(way, dilation, causal, device, take, poisoned):
    """40 reaches beyond either end of 19 frames from everywhere."""
    shape = (1, 19, 32, 32)
    take(way, "frame")
    assert_equals_float64(inputs(shape, device=device, dilation=dilation, causal=causal), dtype=torch.float32)


@pytest.mark.parametrize("taps", [1, 2, 5])
@of_frames
def test_numbers_of_taps(way, taps, device, take):
    shape = (1, 9, 24, 16)
    take(way, "frame")
    given = inputs(shape, device=device, causal=True)
    given["weight"] = torch.randn(16, taps, 24, generator=torch.Generator().manual_seed(3)).to(device).requires_grad_()
    assert_equals_float64(given, dtype=torch.float32)


@kernel_ways
def test_what_is_not_contiguous(way, norm, device, take, poisoned, through_gaps):
    shape = (2, 17, 24, 40)
    take(way, norm)
    given = inputs(shape, device=device, norm=norm)
    strided = {
        "x": given["x"].detach().transpose(0, 1).contiguous().transpose(0, 1),
        "weight": given["weight"].detach().permute(0, 2, 1).contiguous().permute(0, 2, 1),
        "bias": given["bias"].detach().repeat_interleave(2)[::2],
        "project": given["project"].detach().T.contiguous().T,
    }
    assert not any(value.is_contiguous() for value in strided.values())
    given |= {name: value.requires_grad_() for name, value in strided.items()}
    given["valid"] = given["valid"].T.contiguous().T
    assert_equals_float64(given, dtype=torch.float32, gaps=through_gaps)
    want, got = (
        torch.autograd.grad(function(temporal_block(**given)), given["weight"])[0] for function in (Tensor.sum, summed)
    )
    assert torch.equal(got, want)  # the gradient of a sum is one number, expanded


def summed(y: Tensor) -> Tensor:
    """The sum, whose gradient lies in memory as a tensor of ones."""
    return (y * torch.ones_like(y)).sum()


@ways
def test_masks(way, norm, device, take, poisoned):
    """Holes, a clip without a frame; nothing of a frame that is not valid comes out."""
    shape = (3, 18, 32, 32)
    take(way, norm)
    given = inputs(shape, device=device, norm=norm)
    valid = torch.rand(3, 18, generator=torch.Generator().manual_seed(4)) < 0.6
    valid[1] = False
    given["valid"] = valid.to(device)
    given["x"] = given["x"].detach().masked_fill(~given["valid"][..., None], 0).requires_grad_()
    assert_equals_float64(given, dtype=torch.float32)


@kernel_ways
def test_the_same_bits_twice(way, norm, device, take):
    shape = (2, 40, 24, 40)
    take(way, norm)
    one, two = (run_with_gradients(temporal_block, inputs(shape, device=device, norm=norm)) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@kernel_ways
def test_evaluation_keeps_nothing_and_no_frames_are_no_work(way, norm, device, take):
    take(way, norm)
    given = inputs((2, 9, 32, 32), device=device, norm=norm)
    with torch.no_grad():
        torch.testing.assert_close(temporal_block(**given), temporal_block(**given | {"x": given["x"].detach()}))
    named = ("x", "valid", "weight", "bias", "scale", "shift")
    saved = block_op(*[given[name] for name in named], None, None, None, 1, False, norm, 0.0, 1e-5, False)[1:]
    assert [tensor.numel() for tensor in saved] == [0] * 4
    for shape in ((0, 9, 32, 32), (2, 0, 32, 32)):
        empty = inputs((1, 1, 32, 32), device=device, norm=norm)
        empty |= {
            "x": torch.empty(shape[:3], device=device).requires_grad_(),
            "valid": torch.empty(shape[:2], device=device) > 0,
        }
        y = temporal_block(**empty)
        y.sum().backward()
        assert y.shape == shape[:3]
        assert (empty["weight"].grad == 0).all()


@kernel_ways
def test_seeds(way, norm, device, take):
    shape = (1, 9, 32, 32)
    take(way, norm)
    given = inputs(shape, device=device, norm=norm, seed=None)
    torch.manual_seed(5)
    first, second = temporal_block(**given), temporal_block(**given)
    torch.manual_seed(5)
    assert torch.equal(temporal_block(**given), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(2, 17, 24, 40), (2, 17, 32, 32)], ids=str)
@kernel_ways
def test_registered_as_torch_wants_it(way, norm, shape, device, take):
    take(way, norm)
    given = inputs(shape, device=device, norm=norm)
    names = ("x", "valid", "weight", "bias", "scale", "shift", "project", "project_bias", "seed")
    torch.library.opcheck(block_op, (*[given.get(name) for name in names], 2, False, norm, 0.3, 1e-5, True))


@kernel_ways
def test_compiled_whole(way, norm, device, take):
    shape = (2, 17, 24, 40)
    take(way, norm)
    given = inputs(shape, device=device, norm=norm)
    compiled = torch.compile(temporal_block, backend="aot_eager", fullgraph=True)
    one, two = (run_with_gradients(function, given) for function in (temporal_block, compiled))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert compiled(**given | {"seed": None}).shape == (2, 17, 40)


@pytest.mark.parametrize("way", ["one_pass", "library"])
@pytest.mark.parametrize("shape", [(2, 17, 24, 40), (2, 17, 32, 32)], ids=str)
def test_autocast(shape, way, device, take):
    take(way, "frame")
    given = inputs(shape, device=device)

    def under_autocast(**inputs):
        with torch.autocast(device, dtype=torch.bfloat16):
            return temporal_block(**inputs)

    got = run_with_gradients(under_autocast, given)
    assert got["output 0"].dtype == torch.bfloat16
    assert all(got[name].dtype == torch.float32 for name in find_leaves(given))
    limit = 2 * tolerance(torch.bfloat16, 3 * shape[2])  # inputs are rounded too
    found = measure_deviations(under_autocast, temporal_block_reference, given, limit=limit)
    assert all(one.ok for one in found), found


@pytest.mark.slow
@pytest.mark.parametrize("norm", list(NAMES))
def test_a_hundred_steps_of_training_are_those_of_the_reference(norm, device, take):
    take("one_pass" if norm == "frame" else "two_pass", norm)
    generator = torch.Generator().manual_seed(6)
    x, target = torch.randn(2, 8, 12, generator=generator).to(device), torch.randn(2, 8, 16, generator=generator).to(device)
    valid = (torch.arange(8) < torch.tensor([[8], [5]])).to(device)
    curves = []
    for function in (temporal_block, temporal_block_reference):
        torch.manual_seed(7)
        model = TCN(12, hidden=16, layers=2, norm=norm).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        losses = []
        for _ in range(100):
            loss = (run_model(model, x, valid, function) - target)[valid].square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(torch.tensor(losses))
    torch.testing.assert_close(*curves, rtol=1e-3, atol=0)
    assert curves[0][-10:].mean() < 0.7 * curves[0][:10].mean()


def run_model(model: TCN, x: Tensor, valid: Tensor, function) -> Tensor:
    """`model(x, valid)` with its blocks done by `function`."""
    x = x.masked_fill(~valid[..., None], 0)
    for block in model.blocks:
        extra = [] if x.shape[2] == len(block.weight) else [block.skip.weight, block.skip.bias]
        parameters = (block.weight, block.bias, block.scale, block.shift, *extra)
        options = {"dilation": block.dilation, "norm": block.norm, "dropout": block.dropout, "seed": draw_seed()}
        x = function(x, valid, *parameters, **options)
    return x


def test_the_model_takes_the_kernels(device):
    model, x, valid = TCN(12, hidden=32).to(device), torch.randn(2, 8, 12).to(device), torch.ones(2, 8, dtype=bool).to(device)
    torch.manual_seed(8)
    got = model(x, valid)
    torch.manual_seed(8)
    assert torch.equal(got, run_model(model, x, valid, temporal_block))
    assert "TarponTemporalBlock" in type(got.grad_fn).__name__.title().replace("_", "")


def test_what_the_kernels_cannot_do_is_explained(device):
    given = inputs((1, 9, 32, 32), device=device)
    with pytest.raises(ValueError, match=r"torch\.float64; cast"):
        temporal_block(**{name: value.double() if name in find_leaves(given) else value for name, value in given.items()})
    with pytest.raises(ValueError, match=r"bfloat16, torch\.float32; cast"):
        temporal_block(**given | {"x": given["x"].bfloat16()})


def test_plain_pytorch_is_taken_where_the_table_says_so(device, take):
    """Then nothing of ours runs, and dropout without a seed is PyTorch's own."""
    take("library", "frame")
    given = inputs((1, 9, 32, 32), device=device)
    assert "Tarpon" not in type(temporal_block(**given).grad_fn).__name__.title()
    torch.manual_seed(0)
    got = temporal_block(**given | {"seed": None})
    torch.manual_seed(0)
    assert torch.equal(got, temporal_block_reference(**given | {"seed": None}))
