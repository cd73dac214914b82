"""The frame encoder: layouts of every family, freezing, weights, and messages that say what to do."""

import huggingface_hub.constants as hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from tarpon.models.backbones.frames import FrameBackbone, FrameEncoder


def encoder(name: str = "test_resnet", **options) -> FrameEncoder:
    torch.manual_seed(0)
    return FrameBackbone(name=name, pretrained=False, **{"image_size": 64, **options}).build()


def swin() -> FrameEncoder:
    torch.manual_seed(0)
    net = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=0, img_size=64, embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)
    )
    return FrameEncoder(net, image_size=64)


@pytest.mark.parametrize(
    ("build", "dim", "grid_dim", "cells"),
    [
        (lambda: encoder("test_resnet"), 96, 96, 2),  # NCHW, stride 32
        (lambda: encoder("test_vit"), 64, 64, 4),  # one class token, patch 16
        (swin, 128, 128, 2),  # NHWC
        (lambda: encoder("lcnet_035"), 1280, 176, 2),  # pooled is wider than the map
        (lambda: encoder("test_resnet", grid_stride=16), 96, 192, 4),  # a map from the middle
    ],
    ids=["cnn", "vit", "swin", "wide-head", "middle-map"],
)
def test_shapes(build, dim, grid_dim, cells):
    model = build()
    pooled, grid = model(torch.randn(2, 3, 3, 64, 64))
    assert (model.dim, model.grid_dim, model.grid_size) == (dim, grid_dim, (cells, cells))
    assert pooled.shape == (2, 3, dim)
    assert grid.shape == (2, 3, cells, cells, grid_dim)


def test_pooled_and_grid_are_timms_own():
    model = encoder("test_vit").eval()
    frames = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        pooled, grid = model(frames.view(2, 2, 3, 64, 64))
        tokens = model.net.forward_features(frames)
        assert torch.equal(pooled.flatten(0, 1), model.net(frames))
    assert torch.equal(grid.flatten(0, 1)[3, 2, 1], tokens[3, 1 + 2 * 4 + 1])  # row 2, column 1, after the class token


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "lcnet_035"])
def test_a_middle_map_leaves_the_pooled_vector_as_it_is(name):
    clip = torch.randn(1, 2, 3, 64, 64)
    with torch.no_grad():
        last, _ = encoder(name).eval()(clip)
        middle, _ = encoder(name, grid_stride=16).eval()(clip)
    torch.testing.assert_close(middle, last)


@pytest.mark.parametrize("build", [lambda: encoder("test_resnet", grid_stride=16), lambda: encoder("test_vit"), swin])
def test_the_map_is_the_right_way_up(build):
    model = build().eval()
    dark = torch.zeros(1, 1, 3, 64, 64)
    lit = dark.clone()
    lit[..., 2:10, 52:62] = 3.0  # upper right
    with torch.no_grad():
        change = (model(lit)[1] - model(dark)[1]).norm(dim=-1)[0, 0]
    h, w = change.shape
    assert divmod(int(change.argmax()), w) == (0, w - 1)
    assert h == w


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_frames_do_not_see_each_other_and_passes_change_nothing(name):
    model, chunked = encoder(name).eval(), encoder(name, frames_per_pass=2).eval()
    clip = torch.randn(1, 5, 3, 64, 64)
    whole, parts = model(clip), chunked(clip)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    whole[0].square().mean().backward()
    parts[0].square().mean().backward()
    for one, other in zip(model.parameters(), chunked.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_frozen_stays_still_under_a_training_parent_and_learns_again():
    model = encoder()
    parent = torch.nn.ModuleList([model])
    model.freeze(True)
    parent.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pooled, grid = model(torch.randn(1, 4, 3, 64, 64))
    assert not any(module.training for module in model.modules())
    assert not pooled.requires_grad
    assert not grid.requires_grad
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.freeze(False)
    assert all(module.training for module in model.modules())
    pooled, _ = model(torch.randn(1, 4, 3, 64, 64))
    pooled.sum().backward()
    assert model.net.conv1[0].weight.grad.abs().sum() > 0
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_thawing_in_evaluation_stays_in_evaluation():
    model = encoder()
    model.freeze(True)
    model.eval()
    model.freeze(False)
    assert not model.net.training


def test_bf16_parameters_take_a_float32_clip():
    pooled, grid = encoder("test_vit").bfloat16()(torch.randn(1, 2, 3, 64, 64))
    assert pooled.dtype == grid.dtype == torch.bfloat16
    assert pooled.isfinite().all()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_local_weights_are_loaded_whole(tmp_path, suffix):
    source = timm.create_model("test_resnet", num_classes=7)  # its classifier is left out
    path = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(source.state_dict(), path)
    model = FrameBackbone(name="test_resnet", weights=str(path), image_size=64).build()
    own = model.net.state_dict()
    assert own
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in own.items())


def test_a_file_that_fills_only_part_is_refused(tmp_path):
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    state.pop("conv1.0.weight")
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match=r"lack 1 of the \d+ tensors.*conv1\.0\.weight"):
        FrameBackbone(name="test_resnet", weights=str(tmp_path / "part.safetensors")).build()


def test_weights_of_another_model_are_refused(tmp_path):
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="VisionTransformer"):
        FrameBackbone(name="test_vit", weights=str(tmp_path / "other.safetensors"), image_size=64).build()


class Payload:
    """A class that a weights file has no business holding."""


def test_a_file_of_code_is_not_run(tmp_path):
    torch.save({"state_dict": Payload()}, tmp_path / "code.pt")
    with pytest.raises(ValueError, match="do not fit"):
        FrameBackbone(name="test_resnet", weights=str(tmp_path / "code.pt")).build()


def test_offline_names_the_three_choices(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"test_vit cannot be had.*pretrained: true.*weights: FILE.*pretrained: false"):
        FrameBackbone(name="test_vit", image_size=64).build()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet18x"}, "resnet18"),
        ({"name": "resnet18.nonsense"}, "a1_in1k"),
        ({"weights": "absent.pt"}, "not a file"),
        ({"weights": "absent.npz"}, "must end in"),
        ({"name": "test_vit", "pretrained": False, "image_size": 72}, "use 64 or 80"),
        ({"name": "test_resnet", "pretrained": False, "grid_stride": 1}, "finer than any map"),
    ],
)
def test_mistakes_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        FrameBackbone(**options).build()


@pytest.mark.parametrize(
    "options", [{"image_size": 0}, {"grid_stride": 0}, {"frames_per_pass": 0}, {"pretrained": False, "weights": "a.pt"}]
)
def test_contradictions_are_refused_when_described(options):
    with pytest.raises(ValueError):
        FrameBackbone(**options)


def test_a_clip_of_another_size_is_refused_where_the_model_has_one_size():
    with pytest.raises(ValueError, match="H = W = 64"):
        encoder("test_vit")(torch.zeros(1, 1, 3, 80, 80))
    assert encoder("test_resnet")(torch.zeros(1, 2, 3, 96, 64))[1].shape == (1, 2, 3, 2, 96)


def test_normalisation_is_the_models_own_without_building_it():
    assert FrameBackbone().normalisation() == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    assert FrameBackbone(name="vit_tiny_patch16_224.augreg_in21k").normalisation() == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
