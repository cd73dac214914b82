"""The whole tagger: shapes, separate paths, padding, freezing and parameter groups."""

import pytest
import torch

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.models.temporal.pose import MOUSE_POINTS, PoseEncoder, PoseGraph
from tarpon.models.temporal.tagger import FrameTagger

CHANGED = [  # what looks over time, where it is not the TCN alone
    {"temporal": "transformer", "attention_frames": 4},
    {"refine_stages": 2},
    {"temporal": "transformer", "refine_stages": 2, "refine_shared": True},
]


def tagger(name: str = "test_vit", *, pose: bool = True, **options) -> FrameTagger:
    torch.manual_seed(0)
    encoder = FrameBackbone(name=name, pretrained=False, image_size=32, grid_stride=16).build()
    graph = PoseEncoder(PoseGraph.from_points(MOUSE_POINTS)) if pose else None
    return FrameTagger(encoder, classes=6, **{"points": 6, "pose": graph, "hidden": 32, **options})


def batch(frames: int = 9) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pose = torch.rand(2, frames, 6, 3, generator=generator)
    pose[..., 2] = (pose[..., 2] > 0.3).float()
    clip = torch.randn(2, frames, 3, 32, 32, generator=generator)
    return {"clip": clip, "valid": torch.ones(2, frames, dtype=torch.bool), "pose": pose}


@pytest.mark.parametrize("norm", ["frame", "clip"])
def test_shapes_and_dtypes(norm):
    out = tagger(norm=norm)(**batch())
    assert {name: tuple(value.shape) for name, value in out.items()} == {"action": (2, 9, 6), "keypoints": (2, 9, 6, 2)}
    assert all(value.dtype == torch.float32 for value in out.values())
    assert ((out["keypoints"] >= 0) & (out["keypoints"] <= 1)).all()


def test_action_only_without_pose():
    inputs = batch()
    inputs.pop("pose")
    assert set(tagger(pose=False, points=0, keypoints=False)(**inputs)) == {"action"}


def test_keypoints_cannot_copy_the_pose_and_actions_use_it():
    model, inputs = tagger().eval(), batch()
    other = {**inputs, "pose": inputs["pose"].flip(1)}
    one, two = model(**inputs), model(**other)
    assert torch.equal(one["keypoints"], two["keypoints"])
    assert not torch.allclose(one["action"], two["action"])


@pytest.mark.parametrize("options", [{"norm": "frame"}, {"norm": "clip"}, *CHANGED], ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_padding_reaches_no_valid_frame(options, training):
    inputs = batch()
    padded = {
        "clip": torch.cat([inputs["clip"], torch.full((2, 4, 3, 32, 32), 50.0)], 1),
        "valid": torch.arange(13).expand(2, -1) < 9,
        "pose": torch.cat([inputs["pose"], torch.full((2, 4, 6, 3), float("nan"))], 1),
    }
    outputs = []
    for given in (inputs, padded):
        model = tagger(**options, dropout=0.0, head_dropout=0.0).train(training)
        model.pose.dropout.p = 0.0
        out = model(**given)
        stages = out.pop("action_stages", out["action"][:, None]).transpose(1, 2)
        outputs.append({name: value[:, :9] for name, value in {**out, "stages": stages}.items()})
    for name in outputs[0]:
        torch.testing.assert_close(outputs[0][name], outputs[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"norm": "frame"}, {"norm": "clip"}, *CHANGED], ids=str)
def test_a_batch_of_padding_alone_is_harmless(options):
    """The last evaluation batch of a rank can be one; leaving it out would make the ranks' steps unequal."""
    inputs = batch()
    out = tagger(**options).eval()(**{**inputs, "valid": torch.zeros_like(inputs["valid"])})
    assert all(torch.isfinite(value).all() for value in out.values())


@pytest.mark.parametrize("options", [{}, *CHANGED], ids=str)
def test_every_parameter_learns_and_a_frozen_backbone_does_not(options):
    model, inputs = tagger(**options), batch()
    out = model(**inputs)
    (out["action"].square().mean() + (out["keypoints"] - 0.1).square().mean()).backward()
    silent = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert not silent
    model.zero_grad()
    model.freeze_backbone(True)
    model.train()
    out = model(**inputs)
    (out["action"].square().mean() + (out["keypoints"] - 0.1).square().mean()).backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == {name for name, _ in model.named_parameters() if not name.startswith("encoder.")}


@pytest.mark.parametrize("options", [{"norm": "clip"}, *CHANGED[::2]], ids=str)
@pytest.mark.parametrize("cast", [True, False], ids=["parameters", "autocast"])
def test_bf16_runs(cast, options):
    model = tagger("test_resnet", **options)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not cast):
        out = (model.bfloat16() if cast else model)(**batch())
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in out.values())
    sum(value.sum() for value in out.values()).backward()


def test_the_last_stage_is_the_answer_and_the_first_the_network_without_refinement():
    inputs = batch()
    plain, out = tagger().eval()(**inputs), tagger(refine_stages=2).eval()(**inputs)
    assert out["action_stages"].shape == (2, 3, 9, 6)
    assert torch.equal(out["action_stages"][:, 0], plain["action"])
    assert torch.equal(out["action_stages"][:, 2], out["action"])


@pytest.mark.parametrize(("options", "reach"), [({}, 7), (CHANGED[0], 12), ({"refine_stages": 2}, 21), (CHANGED[2], 62)])
def test_an_action_depends_on_features_as_far_as_the_reach_and_no_farther(options, reach):
    model, frames = tagger(pose=False, keypoints=False, **options).eval(), 2 * reach + 5
    pooled = torch.randn(1, frames, model.encoder.dim, requires_grad=True)
    out = model.run_head(pooled, None, torch.ones(1, frames, dtype=torch.bool), None)
    out["action"][0, reach + 2].square().sum().backward()
    seen = pooled.grad[0].abs().sum(-1).nonzero().flatten().tolist()
    assert model.reach == reach
    assert (seen[0], seen[-1]) == (2, 2 * reach + 2)


def test_mistakes_are_explained():
    with pytest.raises(ValueError, match="temporal='lstm' must be one of tcn, transformer"):
        tagger(temporal="lstm")
    with pytest.raises(ValueError, match="points=0"):
        tagger(points=0)
    inputs = batch()
    with pytest.raises(ValueError, match="built without pose"):
        tagger(pose=False)(**inputs)
    inputs.pop("pose")
    with pytest.raises(ValueError, match="built with pose"):
        tagger()(**inputs)
