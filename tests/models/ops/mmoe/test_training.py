"""Training with the mixture's kernels goes as it goes without."""

import pytest
import torch
from torch import Tensor

from tarpon.models.moe.mmoe import MMoE
from tarpon.models.ops.mmoe.mixture import MMOE, mmoe, mmoe_reference


def test_100_steps_of_training_go_the_same_way(device):
    draw = torch.Generator().manual_seed(0)
    start = MMOE.inputs((4, 5, 6, 2, 2), dtype=torch.float32, device=device, seed=4)
    x = start.pop("x").detach()
    target = torch.randn(4, 2, 6, generator=draw).to(device)

    def losses(function) -> list[float]:
        weights = {
            name: v.detach().clone().requires_grad_()
            for name, v in start.items()
            if isinstance(v, Tensor) and v.is_leaf and v.requires_grad
        }
        optimizer = torch.optim.Adam(weights.values(), lr=1e-2)
        curve = []
        for step in range(100):
            mixed, _ = function(x, **weights, dropout=0.1, seed=torch.tensor(step))
            loss = (mixed - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
        return curve

    want, got = losses(mmoe_reference), losses(mmoe)
    assert want[-1] < 0.8 * want[0]
    assert got == pytest.approx(want, rel=1e-4)


def test_the_model_draws_a_seed_a_step(device):
    torch.manual_seed(0)
    model = MMoE(12, {"a": 5, "b": 2}, experts=3, hidden=16, tower=8, dropout=0.3).to(device)
    x = torch.randn(6, 12, device=device)
    torch.manual_seed(1)
    first, second = model(x), model(x)
    torch.manual_seed(1)
    again = model(x)
    assert torch.equal(first["a"], again["a"])
    assert not torch.equal(first["a"], second["a"])
    sum(value.sum() for value in first.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p is not model.log_variance)
