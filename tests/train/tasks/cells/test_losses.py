"""Targets in hours and the two loss terms."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tarpon.train.tasks.cells.losses import hours_losses, target_hours


def rows(count: int = 24) -> tuple[dict, dict]:
    made = torch.Generator().manual_seed(0)
    out = {"label": torch.randn(count, 2, generator=made), "hours": 20 * torch.rand(count, generator=made)}
    batch = {
        "row": torch.arange(count),
        "label": torch.randint(0, 2, (count,), generator=made),
        "target": 20 * torch.rand(count, generator=made),
    }
    return out, batch


def test_targets_by_hand():
    clock = np.array([0.0, 1.5, 2.0, 2.5, 47.0, 60.0] * 2)
    infected = np.repeat([True, False], 6)
    got = target_hours(clock, infected, onset=2.0, clamp_range=(0.0, 48.0))
    assert got.tolist() == [0.0, 0.0, 0.0, 0.5, 45.0, 48.0, 0.0, 1.5, 2.0, 2.5, 47.0, 48.0]
    assert got.dtype == np.float32
    assert target_hours(np.array([10.0]), np.array([True]), onset=1.0, clamp_range=(0.0, 8.0)).tolist() == [8.0]
    with pytest.raises(ValueError, match="clamp_range"):
        target_hours(clock, infected, clamp_range=(48.0, 0.0))


def test_terms_are_those_of_torch():
    out, batch = rows()
    got = hours_losses(out, batch, classification_weight=0.7, regression_weight=0.1, beta=2.0)
    torch.testing.assert_close(got["label"], 0.7 * F.cross_entropy(out["label"], batch["label"]))
    torch.testing.assert_close(got["hours"], 0.1 * F.smooth_l1_loss(out["hours"], batch["target"], beta=2.0))


def test_smooth_l1_by_hand():
    out = {"label": torch.zeros(2, 2), "hours": torch.tensor([10.5, 14.0])}
    batch = {"row": torch.arange(2), "label": torch.tensor([0, 1]), "target": torch.tensor([10.0, 10.0])}
    got = hours_losses(out, batch)
    assert float(got["hours"]) == pytest.approx((0.5 * 0.25 + 3.5) / 2)
    assert float(got["label"]) == pytest.approx(np.log(2))


def test_padding_counts_zero_whatever_it_holds():
    out, batch = rows()
    out = {name: torch.cat([value, value[:8]]).requires_grad_() for name, value in out.items()}
    padded = {name: torch.cat([value, value[:8]]) for name, value in batch.items()}
    padded["row"][24:], padded["label"][24:], padded["target"][24:] = -1, -1, torch.nan
    plain = hours_losses({name: value[:24] for name, value in out.items()}, batch)
    got = hours_losses(out, padded)
    for name in got:
        torch.testing.assert_close(got[name] * 32 / 24, plain[name])
    sum(got.values()).backward()
    for value in out.values():
        assert torch.isfinite(value.grad).all()
        assert not value.grad[24:].any()
        assert value.grad[:24].any()


def test_any_split_of_a_batch_has_the_same_mean():
    out, batch = rows()
    batch["row"][[0, 1, 2, 5]] = -1  # uneven over the parts
    whole = hours_losses(out, batch)
    parts = [
        hours_losses({n: v[at : at + 8] for n, v in out.items()}, {n: v[at : at + 8] for n, v in batch.items()})
        for at in (0, 8, 16)
    ]
    for name in whole:
        torch.testing.assert_close(whole[name], sum(part[name] for part in parts) / 3)
