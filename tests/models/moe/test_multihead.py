"""The baseline of independent heads against one Sequential a task."""

import pytest
import torch
from torch import nn

from tarpon.models.moe.multihead import MultiHead

OUTPUTS = {"family": 9, "order": 5, "habitat": 8, "troph": 1}


def by_task(dim, width, *, layers, hidden, dropout=0.0):
    widths = [dim] + [hidden] * (layers - 1)
    middle = [part for i in range(layers - 1) for part in (nn.Linear(widths[i], widths[i + 1]), nn.GELU(), nn.Dropout(dropout))]
    return nn.Sequential(nn.LayerNorm(dim), *middle, nn.Linear(widths[-1], width))


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_equals_one_head_a_task_with_gradients(layers):
    torch.manual_seed(0)
    ours = MultiHead(12, OUTPUTS, layers=layers, hidden=10, dropout=0.0).double()
    theirs = [by_task(12, width, layers=layers, hidden=10).double() for width in OUTPUTS.values()]
    with torch.no_grad():
        for k, head in enumerate(theirs):
            head[0].weight.copy_(ours.norm.scale[k].normal_(1, 0.3))
            head[0].bias.copy_(ours.norm.shift[k].normal_(0, 0.3))
            for i, layer in enumerate(ours.hidden):
                head[1 + 3 * i].weight.copy_(layer.weight[k].T)
                head[1 + 3 * i].bias.copy_(layer.bias[k])
            head[-1].weight.copy_(ours.last.weight.split(list(OUTPUTS.values()))[k])
            head[-1].bias.copy_(ours.last.bias.split(list(OUTPUTS.values()))[k])
    x = torch.randn(7, 12, dtype=torch.float64)
    got, want = ours(x), {task: head(x) for task, head in zip(OUTPUTS, theirs, strict=True)}
    assert list(got) == list(OUTPUTS)
    for task in OUTPUTS:
        torch.testing.assert_close(got[task], want[task], rtol=1e-10, atol=1e-10)
    for out in (got, want):
        sum(value.square().sum() for value in out.values()).backward()
    for k, head in enumerate(theirs):
        torch.testing.assert_close(ours.norm.scale.grad[k], head[0].weight.grad, rtol=1e-10, atol=1e-10)
        for i, layer in enumerate(ours.hidden):
            torch.testing.assert_close(layer.weight.grad[k], head[1 + 3 * i].weight.grad.T, rtol=1e-10, atol=1e-10)
    last = torch.cat([head[-1].weight.grad for head in theirs])
    torch.testing.assert_close(ours.last.weight.grad, last, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("layers", "millions"), [(1, 0.59), (2, 4.78), (4, 13.18)])
def test_parameter_counts_are_the_published_ones(layers, millions):
    outputs = {"family": 463, "order": 92, "habitat": 8, "troph": 1}
    with torch.device("meta"):
        count = sum(p.numel() for p in MultiHead(1024, outputs, layers=layers).parameters())
        oracle = sum(
            p.numel() for width in outputs.values() for p in by_task(1024, width, layers=layers, hidden=1024).parameters()
        )
    assert count == oracle
    assert round(count / 1e6, 2) == millions


def test_tasks_share_nothing_but_the_input():
    model = MultiHead(12, OUTPUTS, layers=3, hidden=10, dropout=0.0)
    model(torch.randn(4, 12))["habitat"].square().sum().backward()
    for layer in (model.norm.scale, model.hidden[0].weight, model.hidden[1].bias):
        assert [bool(part.any()) for part in layer.grad] == [False, False, True, False]


def test_half_features_standardisation_and_log_variance():
    model = MultiHead(12, OUTPUTS, hidden=10, uncertainty=True).eval()
    features = torch.rand(6, 12).half()
    before = model(features)
    model.set_standardisation(features.float().mean(0), features.float().std(0))
    out = model(features)
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in out.values())
    assert not torch.equal(out["family"], before["family"])
    assert out["log_variance"].shape == (4,)


@pytest.mark.parametrize("change", [{"layers": 0}, {"dropout": 1.0}, {"outputs": {"family": 0}}])
def test_mistakes_are_explained(change):
    with pytest.raises(ValueError, match="layers="):
        MultiHead(**{"dim": 12, "outputs": OUTPUTS, **change})
