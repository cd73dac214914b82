"""The page reader: heads as published, windows, conditioning, freezing and parameter groups."""

import pytest
import torch
from torch import nn

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.models.groups import group_parameters
from tarpon.models.pages.reader import PageReader


def reader(name: str = "test_resnet", **options) -> PageReader:
    torch.manual_seed(0)
    return PageReader(FrameBackbone(name=name, pretrained=False, image_size=32).build(), **options)


def batch(window: int = 1, *, pages: int = 4) -> dict[str, torch.Tensor]:
    clip = torch.randn(pages, window, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return {"clip": clip, "valid": torch.ones(pages, window, dtype=torch.bool)}


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("window", [1, 3, 5])
def test_shapes_and_dtypes(name, window):
    out = reader(name, window=window, tcn_hidden=16)(**batch(window))
    assert {name: tuple(value.shape) for name, value in out.items()} == {"label": (4, 2), "hours": (4,)}
    assert all(value.dtype == torch.float32 for value in out.values())


def test_heads_are_those_published():
    model = reader(condition_on_class=True)
    dim = model.encoder.dim
    for made, inputs, outputs in ((model.classifier, dim, 2), (model.regressor, dim + 2, 1)):
        assert [type(layer) for layer in made] == [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
        assert [(made[i].in_features, made[i].out_features) for i in (1, 4)] == [(inputs, 256), (256, outputs)]
        assert [made[i].p for i in (0, 3)] == [0.2, 0.2]
    linear = reader(hidden_dim=0)
    assert [type(layer) for layer in linear.classifier] == [nn.Dropout, nn.Linear]
    assert linear.tcn is None


def test_one_page_is_head_of_encoder():
    model, inputs = reader().eval(), batch()
    pooled, _ = model.encoder(inputs["clip"])
    out = model(**inputs)
    torch.testing.assert_close(out["label"], model.classifier(pooled[:, 0]))
    torch.testing.assert_close(out["hours"], model.regressor(pooled[:, 0])[:, 0])


def test_conditioning_is_joint_unless_detached():
    inputs = batch()
    for detach in (False, True):
        model = reader(condition_on_class=True, detach_class=detach)
        model(**inputs)["hours"].sum().backward()
        reached = model.classifier[-1].weight.grad is not None
        assert reached != detach
    plain = reader()
    plain(**inputs)["hours"].sum().backward()
    assert plain.classifier[-1].weight.grad is None


def test_conditioned_hours_move_with_the_class_scores():
    model, inputs = reader(condition_on_class=True, hidden_dim=0).eval(), batch()
    before = model(**inputs)["hours"]
    with torch.no_grad():
        model.classifier[-1].bias += torch.tensor([0.0, 1.0])
    torch.testing.assert_close(model(**inputs)["hours"] - before, model.regressor[-1].weight[0, -1].expand(4))


@pytest.mark.parametrize("window", [3, 5, 7, 9])
def test_the_answer_depends_on_every_page_of_the_window_and_is_for_the_middle(window):
    model = reader(window=window, tcn_hidden=16).eval()
    inputs = batch(window, pages=1)
    inputs["clip"].requires_grad_()
    model(**inputs)["hours"].sum().backward()
    seen = inputs["clip"].grad.abs().amax((0, 2, 3, 4))
    assert (seen > 0).all()


def test_pages_outside_the_stack_reach_nothing():
    model = reader(window=5, tcn_hidden=16).eval()
    inputs = batch(5)
    inputs["valid"][:, :2] = False
    other = inputs["clip"].clone()
    other[:, :2] = 7.0
    for name, value in model(**inputs).items():
        torch.testing.assert_close(value, model(other, inputs["valid"])[name])
    empty = model(inputs["clip"], torch.zeros(4, 5, dtype=torch.bool))
    assert all(torch.isfinite(value).all() for value in empty.values())


def test_an_untrained_model_answers_about_the_first_hours():
    near = reader(first_hours=21.5).eval()(**batch())["hours"]
    assert ((near - 21.5).abs() < 3).all()


def test_every_parameter_learns_and_a_frozen_backbone_does_not():
    model, inputs = reader(window=3, condition_on_class=True, tcn_hidden=16), batch(3)
    sum(value.square().mean() for value in model(**inputs).values()).backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    model.zero_grad()
    model.freeze_backbone(True)
    model.train()
    kept = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    sum(value.square().mean() for value in model(**inputs).values()).backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == {name for name, _ in model.named_parameters() if not name.startswith("encoder.")}
    assert all(torch.equal(value, kept[name]) for name, value in model.encoder.state_dict().items())  # batch statistics too


def test_parameter_groups_cover_the_model_once():
    model = reader(window=3, tcn_hidden=16)
    groups = group_parameters(model)
    names = [name for group in groups.values() for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert "classifier.1.weight" in groups["rest/decay"]
    assert all(name.startswith("encoder.") for name in groups["backbone/decay"])


def test_bf16_parameters_answer_in_float32():
    model, inputs = reader(window=3, tcn_hidden=16, condition_on_class=True).to(torch.bfloat16).eval(), batch(3)
    out = model(**inputs)
    assert all(value.dtype == torch.float32 and torch.isfinite(value).all() for value in out.values())


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"window": 2}, "odd"),
        ({"window": 0}, "odd"),
        ({"dropout": 1.0}, "dropout"),
        ({"detach_class": True}, "condition_on_class"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, word):
    with pytest.raises(ValueError, match=word):
        reader(**options)


def test_a_window_of_other_length_is_refused():
    with pytest.raises(ValueError, match="reads 3 pages"):
        reader(window=3, tcn_hidden=16)(**batch(5))
