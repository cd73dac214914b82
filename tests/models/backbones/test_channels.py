"""Encoders of pictures of other channels than red, green and blue, and weights trained on these made to fit them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tarpon.models.backbones.frame_backbone import FrameBackbone


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("channels", [2, 5])
def test_an_encoder_takes_its_channels_and_no_others(name, channels):
    encoder = FrameBackbone(name=name, pretrained=False, image_size=32).build(channels=channels).eval()
    pooled, _ = encoder(torch.zeros(1, 2, channels, 32, 32))
    assert pooled.shape == (1, 2, encoder.dim)
    with pytest.raises(ValueError, match=rf"clip must be \(B, T, {channels}, H, W\)"):
        encoder(torch.zeros(1, 2, 3, 32, 32))


def test_trained_weights_of_colours_go_to_the_channels_by_turns(tmp_path):
    """Two channels get the weights of red and green times 3 / 2; five those of R, G, B, R, G times 3 / 5."""
    trained = FrameBackbone(name="test_vit", pretrained=False, image_size=32).build()
    state, first = trained.net.state_dict(), "patch_embed.proj.weight"
    path = tmp_path / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    for channels in (2, 5):
        made = FrameBackbone(name="test_vit", weights=str(path), image_size=32).build(channels=channels).net.state_dict()
        turns = state[first][:, np.arange(channels) % 3] * 3 / channels
        assert torch.allclose(made[first], turns)
        assert all(torch.equal(made[name], value) for name, value in state.items() if name != first)
