"""Generalised-mean pooling, and the fusion of maps of several strides."""

import pytest
import torch
import torch.nn.functional as F

from tarpon.models.groups import group_parameters
from tarpon.models.reid.gem import Fusion, GeM, gem


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.rand(2, 5, 3, 4, generator=torch.Generator().manual_seed(0)) + 0.01


def test_worked_by_hand():
    two_cells = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(gem(two_cells, 3.0), torch.tensor([[4.5 ** (1 / 3)]]))  # ((1 + 8) / 2)^(1/3)


def test_at_1_it_is_the_average_and_far_up_the_maximum(maps):
    torch.testing.assert_close(GeM(1.0)(maps), maps.mean((2, 3)))
    torch.testing.assert_close(gem(maps, 2000.0), maps.amax((2, 3)), rtol=3e-3, atol=0)
    assert GeM().p.item() == 3


def test_gradients_are_those_of_the_formula(maps):
    maps, p = maps.double().requires_grad_(), torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    plain = maps.pow(p).mean((2, 3)).pow(1 / p)
    wanted = torch.autograd.grad(plain.square().sum(), (maps, p))
    ours = torch.autograd.grad(gem(maps, p).double().square().sum(), (maps, p))
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_blank_and_huge_maps_stay_finite():
    pool = GeM(20.0)
    for value in (0.0, -3.0, 1e-4, 3e4):
        maps = torch.full((1, 2, 2, 2), value, requires_grad=True)
        out = pool(maps)
        out.sum().backward()
        torch.testing.assert_close(out, torch.full((1, 2), max(value, 1e-6)))
        assert maps.grad.isfinite().all()
        assert pool.p.grad.isfinite().all()


def test_16_bits_do_not_reach_the_powers(maps):
    with torch.autocast("cpu", torch.bfloat16):
        out = GeM()(maps)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, GeM()(maps), rtol=0, atol=0)
    torch.testing.assert_close(GeM()(maps.bfloat16()), gem(maps.bfloat16().float(), 3.0))


def test_the_exponent_stops_at_1_and_comes_back(maps):
    pool = GeM(1.0)
    optimizer = torch.optim.SGD(pool.parameters(), lr=1.0)
    for sign in (1, -1):  # down, where the average is the least it can be; then up
        for _ in range(20):
            optimizer.zero_grad()
            (sign * pool(maps).sum()).backward()
            optimizer.step()
        if sign == 1:
            assert pool.p.item() < 1
            torch.testing.assert_close(pool(maps), maps.mean((2, 3)))
    assert pool.p.item() > 1
    with pytest.raises(ValueError, match=r"p=0\.5 must be at least 1"):
        GeM(0.5)


def test_the_exponent_does_not_decay():
    groups = group_parameters(torch.nn.ModuleDict({"pool": GeM()}), backbone=None)
    assert list(groups) == ["rest/no_decay"]


def test_fusion_is_a_convolution_of_the_maps_side_by_side():
    torch.manual_seed(0)
    maps = [torch.randn(2, channels, h, w) for channels, h, w in ((4, 8, 12), (6, 4, 6), (8, 2, 3))]
    fusion = Fusion([4, 6, 8], width=10)
    enlarged = [
        F.interpolate(norm(each), size=(8, 12), mode="bilinear", align_corners=False)
        for each, norm in zip(maps, fusion.norms, strict=True)
    ]
    mixed = F.conv2d(torch.cat(enlarged, 1), torch.cat([mix.weight for mix in fusion.mixes], 1))
    out = fusion(maps)
    torch.testing.assert_close(out, F.relu(fusion.norm(mixed)))
    assert out.shape == (2, 10, 8, 12)
    torch.testing.assert_close(fusion([each[:1] for each in maps]), out[:1])  # no image depends on another
