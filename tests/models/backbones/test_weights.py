"""Names with a source: a folder or the hub; the rest of the file is tested where backbones are built."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from tarpon.models.backbones.frame_backbone import FrameBackbone

SIZE = 64


def test_a_published_folder_is_loaded_with_its_own_normalisation(tmp_path):
    source = timm.create_model("test_resnet", num_classes=7)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    described = {
        "architecture": "test_resnet",
        "num_classes": 7,
        "classifier": "fc",
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "input_size": [3, 160, 160],
    }
    (tmp_path / "config.json").write_text(json.dumps(described))
    backbone = FrameBackbone(name=f"local-dir:{tmp_path}", image_size=SIZE)
    assert backbone.normalisation() == ((0.5,) * 3, (0.25,) * 3)
    state = backbone.build().net.state_dict()
    assert state
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in state.items())


def test_a_source_out_of_reach_is_told_in_one_line(tmp_path):
    backbone = FrameBackbone(name=f"local-dir:{tmp_path}", pretrained=False)
    for ask in (backbone.build, backbone.normalisation):
        with pytest.raises(ValueError, match=r"cannot be had.*name the architecture itself") as caught:
            ask()
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="Unknown model source 'nowhere'"):
        FrameBackbone(name="nowhere:this").build()
