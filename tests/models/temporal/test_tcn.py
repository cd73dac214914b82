"""The TCN against torch's own layers, its reach, and that padding reaches nothing."""

import pytest
import torch
import torch.nn.functional as F

from tarpon.models.temporal.tcn import TCN, TemporalBlock, clip_norm, temporal_conv

NORMS = ["frame", "clip"]


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize(("frames", "taps"), [(1, 3), (2, 3), (17, 3), (40, 5), (9, 1)])
def test_conv_equals_torch(frames, taps, dilation):
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(6, 4, taps, dilation=dilation, padding="same").double()
    x = torch.randn(3, frames, 6, dtype=torch.float64, requires_grad=True)
    weight = conv.weight.detach().permute(0, 2, 1).contiguous().requires_grad_()
    ours = temporal_conv(x, weight, conv.bias, dilation=dilation)
    theirs = conv(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(ours, theirs)
    out = torch.randn_like(ours)
    mine = torch.autograd.grad(ours, (x, weight), out)
    his = torch.autograd.grad(theirs, (x, conv.weight), out)
    torch.testing.assert_close(mine[0], his[0])
    torch.testing.assert_close(mine[1], his[1].permute(0, 2, 1))


def test_clip_norm_equals_group_norm_on_full_clips():
    torch.manual_seed(0)
    norm = torch.nn.GroupNorm(8, 32).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(3, 11, 32, dtype=torch.float64) * 5 + 2
    ours = clip_norm(x, torch.ones(3, 11, dtype=torch.bool), norm.weight, norm.bias)
    torch.testing.assert_close(ours, norm(x.transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize("norm", NORMS)
def test_block_equals_the_published_one(norm):
    torch.manual_seed(0)
    block = TemporalBlock(6, 16, kernel=3, dilation=2, dropout=0.3, norm=norm).double().eval()
    x = torch.randn(2, 13, 6, dtype=torch.float64)
    h = F.conv1d(x.transpose(1, 2), block.weight.permute(0, 2, 1), block.bias, padding=2, dilation=2)
    h = F.group_norm(h, 8) if norm == "clip" else F.layer_norm(h.transpose(1, 2), (16,)).transpose(1, 2)
    expected = F.gelu(h).transpose(1, 2) + x @ block.skip.weight.T + block.skip.bias
    torch.testing.assert_close(block(x, torch.ones(2, 13, dtype=torch.bool)), expected)


@pytest.mark.parametrize(("layers", "reach"), [(1, 1), (2, 3), (3, 7)])
def test_receptive_field(layers, reach):
    torch.manual_seed(0)
    model = TCN(4, hidden=16, layers=layers, norm="frame").double().eval()
    x = torch.randn(1, 41, 4, dtype=torch.float64, requires_grad=True)
    model(x, torch.ones(1, 41, dtype=torch.bool))[0, 20].pow(2).sum().backward()
    seen = x.grad[0].abs().sum(-1).nonzero().flatten()
    assert seen.tolist() == list(range(20 - reach, 20 + reach + 1))  # 15 frames for three layers


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("content", [0.0, 1e4, float("nan")])
@pytest.mark.parametrize("extra", [1, 9])
def test_neither_content_nor_amount_of_padding_matters(norm, content, extra):
    torch.manual_seed(0)
    model = TCN(4, hidden=16, norm=norm).eval()
    x = torch.randn(2, 12, 4)
    padded = torch.cat([x, torch.full((2, extra, 4), content)], 1)
    valid = torch.arange(12 + extra).expand(2, -1) < 12
    ours = model(padded, valid)
    torch.testing.assert_close(ours[:, :12], model(x, valid[:, :12]), rtol=1e-5, atol=1e-5)
    assert (ours[:, 12:] == 0).all()


def test_frame_norm_does_not_depend_on_length():
    torch.manual_seed(0)
    model = TCN(4, hidden=16, norm="frame").eval()
    x = torch.randn(1, 60, 4)
    whole = model(x, torch.ones(1, 60, dtype=torch.bool))
    part = model(x[:, :40], torch.ones(1, 40, dtype=torch.bool))
    torch.testing.assert_close(whole[:, :33], part[:, :33], rtol=1e-5, atol=1e-5)  # 7 frames see the cut


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_are_right_with_padding(norm):
    torch.manual_seed(0)
    model = TCN(3, hidden=8, layers=2, norm=norm).double().eval()
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    assert torch.autograd.gradcheck(lambda v: model(v, valid), (x,))


@pytest.mark.parametrize("norm", NORMS)
def test_a_clip_of_padding_alone_stays_finite(norm):
    model = TCN(4, hidden=16, norm=norm)
    out = model(torch.randn(2, 6, 4), torch.zeros(2, 6, dtype=torch.bool))
    out.sum().backward()
    assert (out == 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("norm", NORMS)
def test_bf16_runs_and_dropout_only_trains(norm):
    model = TCN(4, hidden=16, norm=norm).bfloat16()
    x, valid = torch.randn(2, 9, 4), torch.ones(2, 9, dtype=torch.bool)
    assert model(x, valid).dtype == torch.bfloat16
    assert not torch.equal(model(x, valid), model(x, valid))
    model.eval()
    assert torch.equal(model(x, valid), model(x, valid))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"norm": "batch"}, "frame, clip"), ({"kernel": 4}, "odd"), ({"hidden": 20, "norm": "clip"}, "multiple of 8")],
)
def test_mistakes_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        TCN(4, **options)
