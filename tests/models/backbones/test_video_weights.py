"""Weights of the clip encoder: local folders and files, refusals, messages, and the published sizes."""

import json

import huggingface_hub.constants as hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel

from tarpon.models.backbones.video_backbone import VideoBackbone

TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}


def backbone(**options) -> VideoBackbone:
    return VideoBackbone(**{"pretrained": False, "image_size": 32, "overrides": TINY, **options})


def video(frames: int) -> torch.Tensor:
    return torch.randn(1, frames, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A classifier, as the hub holds them: its VideoMAE is under a prefix and its biases have their published names."""
    torch.manual_seed(2)
    model = VideoMAEForVideoClassification(VideoMAEConfig(image_size=32, **TINY)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("weights")
    model.save_pretrained(folder)
    assert any(name.endswith("attention.q_bias") for name in load_file(folder / "model.safetensors"))
    return model.videomae, folder


@pytest.mark.parametrize("file", [False, True], ids=["folder", "file"])
def test_local_weights_are_loaded_whole(published, file):
    reference, folder = published
    path = folder / "model.safetensors" if file else folder
    model = VideoBackbone(weights=str(path), image_size=32).build()
    assert model.net.training
    clip = video(16)
    with torch.no_grad():
        tokens = reference(clip).last_hidden_state
        assert torch.equal(model.eval().net(clip).last_hidden_state, tokens)
        torch.testing.assert_close(model(clip)[1][0, 0], tokens[0, :4].view(2, 2, 24))


def test_a_model_is_rebuilt_without_its_weights(published, tmp_path):
    _, folder = published
    given = VideoBackbone(name="lab/ours", weights=str(folder), image_size=32, stride=5)
    trained, later = given.build(), given.without_weights()
    assert later.weights is None
    assert not later.pretrained
    model = later.build()
    model.load_state_dict(trained.state_dict())
    assert torch.equal(model.eval()(video(20))[0], trained.eval()(video(20))[0])
    assert backbone().without_weights() == backbone()
    with pytest.raises(ValueError, match="neither a folder"):
        VideoBackbone(weights=str(tmp_path / "gone")).without_weights()


def test_half_precision_weights_become_float32(tmp_path):
    VideoMAEModel(VideoMAEConfig(image_size=32, **TINY)).bfloat16().save_pretrained(tmp_path)
    model = VideoBackbone(weights=str(tmp_path), image_size=32).build()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("file", [False, True], ids=["folder", "file"])
def test_weights_that_fill_only_part_are_refused(published, tmp_path, file):
    _, folder = published
    state = load_file(folder / "model.safetensors")
    state.pop("videomae.encoder.layer.1.attention.attention.q_bias")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ValueError, match=r"lack 1 of the \d+ tensors.*query\.bias.*update transformers"):
        VideoBackbone(weights=str(tmp_path / "model.safetensors" if file else tmp_path), image_size=32).build()


@pytest.mark.parametrize("change", [{"hidden_size": 48}, {"hidden_size": "wide"}, {"model_type": "vivit"}])
def test_weights_of_another_model_are_refused(published, tmp_path, change):
    _, folder = published
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"cannot be had|not videomae"):
        VideoBackbone(weights=str(tmp_path), image_size=32).build()


def test_a_broken_file_is_refused(published, tmp_path):
    _, folder = published
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "w.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="cannot be had"):
        VideoBackbone(weights=str(tmp_path / "w.safetensors"), image_size=32).build()


def test_offline_names_the_three_choices(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"kinetics cannot be had.*pretrained: true.*weights: FOLDER.*pretrained: false"):
        VideoBackbone(name="MCG-NJU/videomae-huge-finetuned-kinetics").build()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "MCG-NJU/vivit", "overrides": None}, "small, base, large, huge"),
        ({"overrides": {**TINY, "num_head": 3}}, "unknown num_head; allowed are .*num_attention_heads"),
        ({"overrides": {"hidden_size": "wide"}}, "hidden_size"),
        ({"overrides": {**TINY, "num_attention_heads": 5}}, "multiple of the number of attention heads"),
        ({"overrides": {**TINY, "num_frames": 15}}, "num_frames=15"),
        ({"image_size": 40}, "use 32 or 48"),
        ({"stride": 16}, "below the 16 frames"),
    ],
)
def test_mistakes_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        backbone(**options).build()


def test_weights_have_one_image_size(published):
    with pytest.raises(ValueError, match=r"image_size=224, but .* takes 32 only"):
        VideoBackbone(weights=str(published[1])).build()


@pytest.mark.parametrize("name", ["absent", "absent.safetensors"])
def test_absent_weights_name_the_choices(tmp_path, name):
    with pytest.raises(ValueError, match=r"neither a folder .*pretrained: false"):
        VideoBackbone(weights=str(tmp_path / name)).build()


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 0},
        {"stride": 0},
        {"clips_per_pass": 0},
        {"pretrained": False, "weights": "a"},
        {"overrides": {"num_frames": 8}},
    ],
)
def test_contradictions_are_refused_when_described(options):
    with pytest.raises(ValueError):
        VideoBackbone(**options)


@pytest.mark.parametrize("shape", [(1, 4, 3, 48, 48), (4, 3, 32, 32), (1, 4, 1, 32, 32), (1, 0, 3, 32, 32)])
def test_a_clip_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="H = W = 32"):
        backbone().build()(torch.zeros(shape))


def test_normalisation_and_sizes_are_the_published_ones():
    assert VideoBackbone().normalisation() == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    with torch.device("meta"):
        counts = {
            size: sum(p.numel() for p in VideoBackbone(name=f"videomae-{size}", pretrained=False).build().parameters())
            for size in ("small", "base")
        }
    assert {size: round(count / 1e6) for size, count in counts.items()} == {"small": 22, "base": 86}
