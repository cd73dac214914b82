"""Grad-CAM: equal to CAM where theory says so, hot where the evidence was planted, on tokens too."""

import pytest
import torch
from torch import Tensor, nn

from tarpon.models.backbones.frames import FrameBackbone, FrameEncoder
from tarpon.models.pages import gradcam
from tarpon.models.pages.reader import PageReader


class Spots(nn.Module):
    """A net of two channels: bright places, and dark ones; a cell is 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward_features(self, frames: Tensor) -> Tensor:
        grey = nn.functional.avg_pool2d(frames.mean(1, keepdim=True), 4)
        return torch.relu(grey * self.sign[:, None, None])

    def forward_head(self, features: Tensor, pre_logits: bool) -> Tensor:
        return features.mean((2, 3))


def spots_reader(*, window: int = 1) -> PageReader:
    """Bright places speak for infection and more hours, dark ones against infection."""
    model = PageReader(FrameEncoder(Spots(), image_size=32, any_size=True), hidden_dim=0, window=window, tcn_hidden=8)
    if window == 1:
        with torch.no_grad():
            model.classifier[-1].weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
            model.regressor[-1].weight.copy_(torch.tensor([[2.0, 0.0]]))
    return model


def planted() -> Tensor:
    """(2, 1, 3, 32, 48): a bright square in rows 4-11, columns 32-39 and a dark one in rows 20-27, columns 8-15; its mirror."""
    page = torch.zeros(3, 32, 48)
    page[:, 4:12, 32:40] = 1.0
    page[:, 20:28, 8:16] = -1.0
    return torch.stack([page, page.flip(-1)])[:, None]


def valid(clip: Tensor) -> Tensor:
    return torch.ones(clip.shape[:2], dtype=torch.bool)


def test_heat_lies_on_the_planted_spot_and_on_nothing_else():
    clip = planted()
    for of in (gradcam.score_infected, gradcam.score_hours):
        heat = gradcam.compute_heat_maps(spots_reader(), clip, valid(clip), of=of)
        assert heat.shape == (2, 32, 48)
        assert heat[0, 7, 35] == 1.0
        assert heat[0, 2:14, 30:42].sum() > 0.99 * heat[0].sum() > 0
        torch.testing.assert_close(heat[1], heat[0].flip(-1))
        plain = gradcam.compute_heat_maps(spots_reader(), 2 * clip, valid(clip), of=of, relative=False)
        once = gradcam.compute_heat_maps(spots_reader(), clip, valid(clip), of=of, relative=False)
        torch.testing.assert_close(plain, 2 * once)  # twice as bright a spot is twice as hot
        torch.testing.assert_close(once / once.amax((1, 2), keepdim=True), heat)
    dark = gradcam.compute_heat_maps(spots_reader(), clip, valid(clip), of=gradcam.score_uninfected)
    assert dark[0, 18:30, 6:18].sum() > 0.99 * dark[0].sum() > 0


def test_without_evidence_there_is_no_heat():
    clip = torch.zeros(1, 1, 3, 32, 32)
    heat = gradcam.compute_heat_maps(spots_reader(), clip, valid(clip), of=gradcam.score_infected)
    assert not heat.any()


@pytest.mark.parametrize("output", [0, 1])
def test_equals_cam_where_the_head_is_linear_on_the_mean(output):
    """Zhou et al. (CVPR 2016): features times the class's weights; Selvaraju et al. prove that Grad-CAM then is the same."""
    torch.manual_seed(0)
    encoder = FrameBackbone(name="test_resnet", pretrained=False, image_size=64).build()
    model = PageReader(encoder, hidden_dim=0).eval()
    clip = torch.randn(3, 1, 3, 64, 64)
    with torch.no_grad():
        _, grid = encoder(clip)
        cam = torch.relu(grid[:, 0] @ model.classifier[-1].weight[output])
    assert (cam.amax((1, 2)) > 0).sum() >= 1
    cam = cam / cam.amax((1, 2), keepdim=True).clamp(min=1e-20)  # a page may have no evidence
    want = nn.functional.interpolate(cam[:, None], size=(64, 64), mode="bilinear")[:, 0]
    got = gradcam.compute_heat_maps(model, clip, valid(clip), of=lambda out: out["label"][:, output])
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet"])
def test_every_kind_of_backbone_gives_heat_of_its_own_page_alone(name):
    torch.manual_seed(0)
    model = PageReader(FrameBackbone(name=name, pretrained=False, image_size=64).build())
    clip = torch.randn(4, 1, 3, 64, 64)
    signed = lambda out: out["label"][:, 1] - out["label"][:, 0]  # noqa: E731
    heat = gradcam.compute_heat_maps(model, clip, valid(clip), of=signed)
    assert heat.shape == (4, 64, 64)
    assert heat.min() >= 0
    assert heat.max() <= 1
    assert heat.amax((1, 2)).gt(0).any()
    alone = gradcam.compute_heat_maps(model, clip[2:3], valid(clip)[2:3], of=signed)
    torch.testing.assert_close(alone[0], heat[2], rtol=1e-3, atol=1e-4)


def test_a_transformer_that_answers_from_its_class_token_has_heat():
    """At the patches of the last block's output the gradient is exactly 0; before its attention it is not."""
    torch.manual_seed(0)
    encoder = FrameBackbone(name="vit_tiny_patch16_224", pretrained=False, image_size=64).build()
    assert encoder.net.global_pool == "token"
    model = PageReader(encoder)
    clip = torch.randn(6, 1, 3, 64, 64)
    both = sum(
        gradcam.compute_heat_maps(model, clip, valid(clip), of=of) for of in (gradcam.score_infected, gradcam.score_uninfected)
    )
    assert (both.amax((1, 2)) > 0).any()


def test_state_of_the_model_is_as_before_and_frozen_models_are_explained():
    model, clip = spots_reader(), planted()
    model.freeze_backbone(True)
    model.train()
    with torch.no_grad():
        heat = gradcam.compute_heat_maps(model, clip, valid(clip), of=gradcam.score_infected)
    assert heat.any()
    assert model.training
    assert not model.encoder.training
    assert model.encoder.frozen
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_window_is_explained_at_its_middle_page():
    torch.manual_seed(0)
    model = spots_reader(window=3)
    clip = torch.zeros(2, 3, 3, 32, 48)
    clip[:, 1] = planted()[:, 0]
    clip[:, 0] = 1.0  # bright all over: would light the whole map
    heat = [
        gradcam.compute_heat_maps(model, clip, valid(clip), of=of) for of in (gradcam.score_infected, gradcam.score_uninfected)
    ]
    shown = torch.stack(heat)
    assert shown.any()
    assert not shown[:, 0, :2, :20].any()  # nothing there on the middle page
