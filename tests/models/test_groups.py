"""Parameter groups: every parameter once, and where it belongs."""

import pytest
import torch
from torch import nn

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.models.groups import group_parameters
from tarpon.models.moe.mmoe import MMoE
from tarpon.models.moe.multihead import MultiHead
from tarpon.models.temporal.pose import MOUSE_POINTS, PoseEncoder, PoseGraph
from tarpon.models.temporal.tagger import FrameTagger

OUTPUTS = {"family": 9, "order": 5, "habitat": 8, "troph": 1}


def tagger() -> FrameTagger:
    torch.manual_seed(0)
    encoder = FrameBackbone(name="test_vit", pretrained=False, image_size=32, grid_stride=16).build()
    return FrameTagger(encoder, classes=6, points=6, pose=PoseEncoder(PoseGraph.from_points(MOUSE_POINTS)), hidden=32)


def place_of(model: nn.Module, **options) -> dict[str, str]:
    """Parameter name -> group; each must be in one group."""
    groups = group_parameters(model, **options)
    names = [name for group in groups.values() for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    return {name: group for group, members in groups.items() for name in members}


def test_a_backbone_has_groups_of_its_own():
    place = place_of(tagger())
    assert place["encoder.net.blocks.0.attn.qkv.weight"] == "backbone/decay"
    for name in (
        "encoder.net.pos_embed",
        "encoder.net.cls_token",
        "encoder.net.norm.weight",
        "encoder.net.blocks.0.attn.qkv.bias",
    ):
        assert place[name] == "backbone/no_decay"
    for name in (
        "tcn.blocks.1.weight",
        "action.linear.weight",
        "pose.linear.weight",
        "keypoint.heatmap.weight",
        "keypoint.offset",
    ):
        assert place[name] == "rest/decay"
    for name in ("tcn.blocks.1.scale", "tcn.blocks.1.bias", "visual.0.weight", "keypoint.log_temperature"):
        assert place[name] == "rest/no_decay"


@pytest.mark.parametrize(
    "model",
    [
        MMoE(12, OUTPUTS, experts=3, hidden=16, tower=10, uncertainty=True),
        MultiHead(12, OUTPUTS, hidden=10, uncertainty=True),
    ],
    ids=["mmoe", "multihead"],
)
def test_without_a_backbone_only_matrices_of_weights_decay(model):
    place = place_of(model, backbone=None)
    assert set(place.values()) == {"rest/decay", "rest/no_decay"}
    decaying = {name for name, group in place.items() if group == "rest/decay"}
    assert decaying == {name for name in place if name.endswith(".weight")}
    assert place["log_variance"] == "rest/no_decay"
