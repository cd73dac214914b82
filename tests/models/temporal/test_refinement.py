"""Refinement stages against their formula, their reach, and that padding reaches nothing."""

import pytest
import torch

from tarpon.models.temporal.refinement import Refinement


def make(stages: int = 2, **options) -> Refinement:
    torch.manual_seed(0)
    return Refinement(5, stages=stages, **{"hidden": 16, "layers": 2, "dropout": 0.0, "norm": "frame", **options})


@pytest.mark.parametrize("shared", [False, True])
def test_each_stage_sees_the_probabilities_of_the_one_before(shared):
    model, scores = make(3, shared=shared), torch.randn(2, 9, 5)
    valid = torch.ones(2, 9, dtype=torch.bool)
    made = model(scores, valid)
    assert made.shape == (2, 4, 9, 5)
    assert torch.equal(made[:, 0], scores)
    for turn in range(3):
        stage = model.stages[0 if shared else turn]
        shares = made[:, turn].exp() / made[:, turn].exp().sum(-1, keepdim=True)
        expected = stage.linear(stage.tcn(stage.widen(shares), valid))
        torch.testing.assert_close(made[:, turn + 1], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(scores + 3.0, valid)[:, 1:], made[:, 1:], rtol=1e-4, atol=1e-5)  # no more than those


def test_shared_stages_have_the_parameters_of_one():
    one, three, shared = (
        sum(p.numel() for p in make(n, shared=s).parameters()) for n, s in ((1, False), (3, False), (3, True))
    )
    assert (three, shared) == (3 * one, one)


def test_receptive_field():
    model = make(2).eval()
    assert model.reach == 6
    scores = torch.randn(1, 31, 5, requires_grad=True)
    model(scores, torch.ones(1, 31, dtype=torch.bool))[0, -1, 15].square().sum().backward()
    assert scores.grad[0].abs().sum(-1).nonzero().flatten().tolist() == list(range(9, 22))


@pytest.mark.parametrize("norm", ["frame", "clip"])
@pytest.mark.parametrize("content", [1e4, float("nan")])
def test_neither_content_nor_amount_of_padding_matters(norm, content):
    model, scores = make(norm=norm).eval(), torch.randn(2, 12, 5)
    padded = torch.cat([scores, torch.full((2, 4, 5), content)], 1)
    valid = torch.arange(16).expand(2, -1) < 12
    ours = model(padded, valid)[:, 1:, :12]
    torch.testing.assert_close(ours, model(scores, valid[:, :12])[:, 1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_every_parameter_learns_from_the_last_stage_alone(shared):
    model = make(3, shared=shared)
    model(torch.randn(2, 9, 5), torch.ones(2, 9, dtype=torch.bool))[:, -1].square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
