"""The transformer over time against attention written by hand, its reach, and that padding and length reach nothing."""

import math
import warnings

import pytest
import torch

from tarpon.models.temporal.kinds import HEADS
from tarpon.models.temporal.transformer import TemporalTransformer, local_attention


def attend_by_hand(query, key, value, valid, table):
    """As `local_attention`, frame by frame and head by head."""
    reach, out = table.shape[1] // 2, torch.zeros_like(query)
    clips, frames, heads, width = query.shape
    for b in range(clips):
        for t in range(frames):
            seen = [s for s in range(frames) if abs(s - t) <= reach and (valid[b, s] or s == t)]
            for y in range(heads):
                scores = [query[b, t, y] @ key[b, s, y] / math.sqrt(width) + table[y, s - t + reach] for s in seen]
                shares = torch.stack(scores).exp()
                out[b, t, y] = (shares[:, None] / shares.sum() * value[b, seen, y]).sum(0)
    return out


def make_model(reach: int = 4, layers: int = 2, **options) -> TemporalTransformer:
    torch.manual_seed(0)
    return TemporalTransformer(6, hidden=16, layers=layers, reach=reach, **options)


@pytest.mark.parametrize(("frames", "reach"), [(1, 4), (3, 4), (8, 4), (9, 4), (11, 3), (5, 1)])
def test_attention_and_its_gradients_equal_those_written_by_hand(frames, reach):
    torch.manual_seed(frames)
    query, key, value = (torch.randn(2, frames, HEADS, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    table = torch.randn(HEADS, 2 * reach + 1, dtype=torch.float64, requires_grad=True)
    valid = torch.arange(frames).expand(2, -1) < torch.tensor([[frames], [max(frames - 3, 1)]])
    given = (query, key, value)
    ours, theirs = (attend(*given, valid, table) for attend in (local_attention, attend_by_hand))
    torch.testing.assert_close(ours, theirs)
    slope = torch.randn_like(ours)
    mine, his = (torch.autograd.grad(out, (*given, table), slope) for out in (ours, theirs))
    for one, other in zip(mine, his, strict=True):
        torch.testing.assert_close(one, other)


def test_the_whole_network_equals_one_written_by_hand():
    model = make_model().double().eval()
    x, valid = torch.randn(2, 11, 6, dtype=torch.float64), torch.arange(11).expand(2, -1) < torch.tensor([[11], [7]])

    def norm(x, layer):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias

    def linear(x, layer):
        return x @ layer.weight.T + layer.bias

    h = linear(x * valid[..., None], model.project)
    for block in model.blocks:
        parts = linear(norm(h, block.attention_norm), block.queries_keys_values).split(16, -1)
        seen = attend_by_hand(*(part.reshape(2, 11, HEADS, 4) for part in parts), valid, block.bias_table)
        h = h + block.attention_gain * linear(seen.reshape(2, 11, 16), block.merge)
        first, widen, _, narrow = block.feed_forward
        wide = linear(norm(h, first), widen)
        h = h + block.feed_gain * linear(wide * (1 + torch.erf(wide / math.sqrt(2))) / 2, narrow)
    torch.testing.assert_close(model(x, valid), norm(h, model.norm) * valid[..., None])


@pytest.mark.parametrize(("layers", "reach"), [(1, 1), (1, 4), (3, 2)])
def test_receptive_field(layers, reach):
    model = make_model(reach, layers).double().eval()
    x = torch.randn(1, 41, 6, dtype=torch.float64, requires_grad=True)
    model(x, torch.ones(1, 41, dtype=torch.bool))[0, 20].pow(2).sum().backward()
    seen = x.grad[0].abs().sum(-1).nonzero().flatten()
    assert seen.tolist() == list(range(20 - model.reach, 20 + model.reach + 1))
    assert model.reach == layers * reach


@pytest.mark.parametrize("content", [0.0, 1e4, float("nan")])
@pytest.mark.parametrize("extra", [1, 4, 9])
def test_neither_content_nor_amount_of_padding_matters(content, extra):
    model = make_model().eval()
    x = torch.randn(2, 12, 6)
    padded = torch.cat([x, torch.full((2, extra, 6), content)], 1).requires_grad_()
    valid = torch.arange(12 + extra).expand(2, -1) < 12
    ours = model(padded, valid)
    torch.testing.assert_close(ours[:, :12], model(x, valid[:, :12]), rtol=1e-5, atol=1e-5)
    assert (ours[:, 12:] == 0).all()
    ours.square().sum().backward()
    assert (padded.grad[:, 12:] == 0).all()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_a_stretch_of_a_long_recording_is_answered_as_within_the_whole():
    model = make_model().eval()  # 8 frames to either side
    x = torch.randn(1, 90, 6)
    whole = model(x, torch.ones(1, 90, dtype=torch.bool))
    part = model(x[:, 13:70], torch.ones(1, 57, dtype=torch.bool))
    torch.testing.assert_close(whole[:, 21:62], part[:, 8:49], rtol=1e-5, atol=1e-5)


def test_a_clip_of_padding_alone_stays_finite():
    model = make_model()
    out = model(torch.full((2, 6, 6), float("nan")), torch.zeros(2, 6, dtype=torch.bool))
    out.sum().backward()
    assert (out == 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("cast", [True, False], ids=["parameters", "autocast"])
def test_bf16_runs_and_dropout_only_trains(cast):
    model, x, valid = make_model(dropout=0.3), torch.randn(2, 9, 6), torch.ones(2, 9, dtype=torch.bool)
    exact = make_model().eval()(x, valid)
    model = model.bfloat16() if cast else model
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not cast):
        assert not torch.equal(model(x, valid), model(x, valid))
        model.eval()
        assert torch.equal(model(x, valid), model(x, valid))
        torch.testing.assert_close(model(x, valid).float(), exact, rtol=0, atol=0.1)


@pytest.mark.parametrize("reach", [16, 40])
def test_a_graph_traced_at_one_size_answers_as_the_network_at_any(reach):
    model, example = make_model(reach).eval(), (torch.randn(2, 16, 6), torch.ones(2, 16, dtype=torch.bool))
    sizes = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},) * 2
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, about checks of shapes
        traced = torch.jit.trace(model, example, check_trace=False)
        exported = torch.export.export(model, example, dynamic_shapes=sizes, strict=False).module()
        for clips, frames in ((1, 5), (2, 16), (1, 33), (3, 64)):
            x, valid = torch.randn(clips, frames, 6), (torch.arange(frames) < frames - 2).repeat(clips, 1)
            for graph in (traced, exported):
                torch.testing.assert_close(graph(x, valid), model(x, valid), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("options", "message"), [({"hidden": 18}, "multiple of the 4 heads"), ({"reach": 0}, "reach=0")])
def test_mistakes_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        TemporalTransformer(6, **{"hidden": 16, **options})
