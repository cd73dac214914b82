"""The temporal block's kernels against float64: every variant, norm, dtype and edge, forward and every gradient."""

import pytest
import torch
from torch import Tensor

from tarpon.models.ops import OPS
from tarpon.models.ops.dropout import draw_seed
from tarpon.models.ops.spec import TOLERANCE, discrepancy
from tarpon.models.ops.tcn.block import block_op, temporal_block
from tarpon.models.ops.tcn.reference import temporal_block_reference
from tarpon.models.ops.tiles import TABLE, Tile, Tiles
from tarpon.models.temporal.tcn import TCN

BLOCK = 16  # rows and columns of the small tiles
NAMES = {"frame": "temporal_block", "clip": "temporal_block_clip"}
WAYS = [("one_pass", "frame"), ("two_pass", "frame"), ("library", "frame"), ("two_pass", "clip"), ("library", "clip")]
ways = pytest.mark.parametrize(("variant", "norm"), WAYS)
kernel_ways = pytest.mark.parametrize(("variant", "norm"), [("one_pass", "frame"), ("two_pass", "clip")])
variants = pytest.mark.parametrize("variant", ["one_pass", "two_pass", "library"])


@pytest.fixture
def take():
    """Put a variant with small tiles into the table: (variant, norm, shape, dtype)."""
    tile = Tile(rows=BLOCK, columns=BLOCK, depth=BLOCK)

    def put(variant: str, norm: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        key = (NAMES[norm], *shape[2:], dtype)
        TABLE[key] = Tiles(variant=variant, forward=tile, input_gradient=tile, weight_gradient=tile)

    before = dict(TABLE)
    yield put
    TABLE.clear()
    TABLE.update(before)


def inputs(shape: tuple[int, ...], *, dtype=torch.float32, device="cpu", norm="frame", **options) -> dict[str, object]:
    return OPS[NAMES[norm]].inputs(shape, dtype=dtype, device=device, seed=1) | options


def leaves(given: dict[str, object]) -> dict[str, Tensor]:
    return {name: value for name, value in given.items() if isinstance(value, Tensor) and value.requires_grad}


def in_float64(given: dict[str, object]) -> dict[str, object]:
    exact = {name: value.detach().cpu().double().requires_grad_() for name, value in leaves(given).items()}
    return {name: value.cpu() if isinstance(value, Tensor) else value for name, value in given.items()} | exact


def values_and_gradients(function, given: dict[str, object], dy: Tensor) -> dict[str, Tensor]:
    y = function(**given)
    gradients = torch.autograd.grad(y, list(leaves(given).values()), dy.to(y))
    return {"y": y.detach(), **dict(zip(leaves(given), gradients, strict=True))}


def assert_equals_float64(given: dict[str, object], *, dtype: torch.dtype, dy: Tensor | None = None) -> None:
    shape = (*given["x"].shape[:2], len(given["weight"]))
    dy = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype) if dy is None else dy
    got = values_and_gradients(temporal_block, given, dy)
    want = values_and_gradients(temporal_block_reference, in_float64(given), dy)
    assert (got["y"][~given["valid"]] == 0).all()
    errors = {name: discrepancy(got[name], want[name]) for name in want}
    assert all(got[name].dtype == dtype for name in got)
    assert all(error <= TOLERANCE[dtype] for error in errors.values()), errors


@pytest.mark.parametrize("shape", OPS["temporal_block"].small_shapes, ids=str)
@ways
def test_forward_and_gradients(variant, norm, shape, device, take, poisoned):
    take(variant, norm, shape, torch.float32)
    assert_equals_float64(inputs(shape, device=device, norm=norm), dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@ways
def test_half_the_bits(variant, norm, dtype, device, take, poisoned):
    shape = (3, 17, 40, 32)
    take(variant, norm, shape, dtype)
    assert_equals_float64(inputs(shape, dtype=dtype, device=device, norm=norm), dtype=dtype)


@pytest.mark.parametrize(("dilation", "causal"), [(1, False), (4, True), (40, False), (40, True)])
@variants
def test_dilation_and_padding(variant, dilation, causal, device, take, poisoned):
    """40 reaches beyond either end of 19 frames from everywhere."""
    shape = (1, 19, 32, 32)
    take(variant, "frame", shape, torch.float32)
    assert_equals_float64(inputs(shape, device=device, dilation=dilation, causal=causal), dtype=torch.float32)


@pytest.mark.parametrize("taps", [1, 2, 5])
@variants
def test_numbers_of_taps(variant, taps, device, take):
    shape = (1, 9, 24, 16)
    take(variant, "frame", shape, torch.float32)
    given = inputs(shape, device=device, causal=True)
    given["weight"] = torch.randn(16, taps, 24, generator=torch.Generator().manual_seed(3)).to(device).requires_grad_()
    assert_equals_float64(given, dtype=torch.float32)


@kernel_ways
def test_what_is_not_contiguous(variant, norm, device, take, poisoned):
    shape = (2, 17, 24, 40)
    take(variant, norm, shape, torch.float32)
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
    dy = torch.randn(40, 17, 2, generator=torch.Generator().manual_seed(2)).permute(2, 1, 0)
    assert_equals_float64(given, dtype=torch.float32, dy=dy)
    assert_equals_float64(given, dtype=torch.float32, dy=torch.ones(1, 1, 1).expand(2, 17, 40))


@ways
def test_masks(variant, norm, device, take, poisoned):
    """Holes, a clip without a frame; nothing of a frame that is not valid comes out."""
    shape = (3, 18, 32, 32)
    take(variant, norm, shape, torch.float32)
    given = inputs(shape, device=device, norm=norm)
    valid = torch.rand(3, 18, generator=torch.Generator().manual_seed(4)) < 0.6
    valid[1] = False
    given["valid"] = valid.to(device)
    given["x"] = given["x"].detach().masked_fill(~given["valid"][..., None], 0).requires_grad_()
    assert_equals_float64(given, dtype=torch.float32)


@kernel_ways
def test_the_same_bits_twice(variant, norm, device, take):
    shape = (2, 40, 24, 40)
    take(variant, norm, shape, torch.float32)
    dy = torch.randn(2, 40, 40, generator=torch.Generator().manual_seed(2))
    one, two = (values_and_gradients(temporal_block, inputs(shape, device=device, norm=norm), dy) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@kernel_ways
def test_evaluation_keeps_nothing_and_no_frames_are_no_work(variant, norm, device, take):
    take(variant, norm, (0, 0, 32, 32), torch.float32)
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
def test_seeds(variant, norm, device, take):
    shape = (1, 9, 32, 32)
    take(variant, norm, shape, torch.float32)
    given = inputs(shape, device=device, norm=norm, seed=None)
    torch.manual_seed(5)
    first, second = temporal_block(**given), temporal_block(**given)
    torch.manual_seed(5)
    assert torch.equal(temporal_block(**given), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(2, 17, 24, 40), (2, 17, 32, 32)], ids=str)
@kernel_ways
def test_registered_as_torch_wants_it(variant, norm, shape, device, take):
    take(variant, norm, shape, torch.float32)
    given = inputs(shape, device=device, norm=norm)
    names = ("x", "valid", "weight", "bias", "scale", "shift", "project", "project_bias", "seed")
    torch.library.opcheck(block_op, (*[given.get(name) for name in names], 2, False, norm, 0.3, 1e-5, True))


@kernel_ways
def test_compiled_whole(variant, norm, device, take):
    shape = (2, 17, 24, 40)
    take(variant, norm, shape, torch.float32)
    given, dy = inputs(shape, device=device, norm=norm), torch.randn(2, 17, 40)
    compiled = torch.compile(temporal_block, backend="aot_eager", fullgraph=True)
    one, two = (values_and_gradients(function, given, dy) for function in (temporal_block, compiled))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert compiled(**given | {"seed": None}).shape == (2, 17, 40)


@pytest.mark.parametrize("shape", [(2, 17, 24, 40), (2, 17, 32, 32)], ids=str)
def test_autocast(shape, device, take):
    take("one_pass", "frame", shape, torch.bfloat16)
    given = inputs(shape, device=device)
    dy = torch.randn(2, 17, shape[3], generator=torch.Generator().manual_seed(2))
    with torch.autocast(device, dtype=torch.bfloat16):
        got = values_and_gradients(temporal_block, given, dy)
    want = values_and_gradients(temporal_block_reference, in_float64(given), dy)
    assert got["y"].dtype == torch.bfloat16
    assert all(got[name].dtype == torch.float32 for name in leaves(given))
    assert all(discrepancy(got[name], want[name]) < 2 * TOLERANCE[torch.bfloat16] for name in want)  # inputs are rounded too


@pytest.mark.slow
@pytest.mark.parametrize("norm", list(NAMES))
def test_a_hundred_steps_of_training_are_those_of_the_reference(norm, device, take):
    for channels in (12, 16):
        take("one_pass" if norm == "frame" else "two_pass", norm, (0, 0, channels, 16), torch.float32)
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
            loss = (run(model, x, valid, function) - target)[valid].square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(torch.tensor(losses))
    torch.testing.assert_close(*curves, rtol=1e-3, atol=0)
    assert curves[0][-10:].mean() < 0.7 * curves[0][:10].mean()


def run(model: TCN, x: Tensor, valid: Tensor, function) -> Tensor:
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
    assert torch.equal(got, run(model, x, valid, temporal_block))
    assert "TarponTemporalBlock" in type(got.grad_fn).__name__.title().replace("_", "")


def test_what_the_kernels_cannot_do_is_explained(device):
    given = inputs((1, 9, 32, 32), device=device)
    with pytest.raises(ValueError, match=r"torch\.float64; cast"):
        temporal_block(**{name: value.double() if name in leaves(given) else value for name, value in given.items()})
    with pytest.raises(ValueError, match=r"bfloat16, torch\.float32; cast"):
        temporal_block(**given | {"x": given["x"].bfloat16()})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("name", list(NAMES.values()))
def test_real_shapes(name, dtype):
    for shape in OPS[name].shapes:
        assert_equals_float64(OPS[name].inputs(shape, dtype=dtype, device="cuda", seed=1), dtype=dtype)
