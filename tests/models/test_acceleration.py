"""Backbones laid out and compiled: the same answers, names and gradients."""

import pytest
import timm
import torch
from torch import nn

from tarpon.models import acceleration
from tarpon.models.backbones.frame_backbone import FrameBackbone

CPU = torch.device("cpu")


class Wrapped(nn.Module):
    """A model with an encoder, as all of ours have."""

    def __init__(self, name: str, size: int = 64) -> None:
        super().__init__()
        self.encoder = FrameBackbone(name=name, pretrained=False, image_size=size).build()


@pytest.mark.parametrize(
    ("name", "count", "kinds"),
    [
        ("test_vit", 6, {"Block"}),
        ("resnet18", 8, {"BasicBlock"}),
        ("resnet50", 16, {"Bottleneck"}),
        ("swinv2_tiny_window8_256", 12, {"SwinTransformerV2Block"}),
        ("convnext_tiny", 18, {"ConvNeXtBlock"}),
    ],
)
def test_what_is_compiled_are_the_repeated_blocks(name, count, kinds):
    blocks = acceleration._find_blocks(timm.create_model(name, num_classes=0))
    assert (len(blocks), {type(block).__name__ for block in blocks}) == (count, kinds)


def test_a_cpu_compiles_only_when_asked_to():
    model = Wrapped("test_vit")
    assert acceleration.accelerate(model, compile="auto", channels_last=False, device=CPU) == "not compiled"
    assert acceleration.accelerate(model, compile="off", channels_last=False, device=CPU) == "not compiled"
    assert acceleration.accelerate(nn.Linear(2, 2), compile="on", channels_last=False, device=CPU) == "no backbone"


def test_without_a_compiler_the_words_say_so_and_nothing_is_changed(monkeypatch):
    def fail(function):
        def call(x):
            raise RuntimeError("No working C++ compiler found\nmore lines")

        return call

    monkeypatch.setattr(torch, "compile", fail)
    model = Wrapped("test_vit")
    assert (
        acceleration.accelerate(model, compile="on", channels_last=False, device=CPU)
        == "not compiled: No working C++ compiler found"
    )
    assert all(module._compiled_call_impl is None for module in model.modules())


@pytest.mark.parametrize(("name", "changes"), [("test_resnet", True), ("test_vit", False)])
def test_channels_last_is_for_convolutional_nets_and_changes_no_value(name, changes):
    model = Wrapped(name)
    model.eval()
    clip = torch.randn(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before, weights = model.encoder(clip)[0], {n: p.clone() for n, p in model.state_dict().items()}
    assert acceleration.lay_channels_last(model.encoder.net) == changes
    wide = [p for p in model.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide) == changes
    assert all(torch.equal(weights[n], p) for n, p in model.state_dict().items())
    torch.testing.assert_close(model.encoder(clip)[0], before, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiled_blocks_answer_and_learn_as_before_under_their_own_names():
    torch.manual_seed(0)
    plain, model = Wrapped("test_vit", 32), Wrapped("test_vit", 32)
    model.load_state_dict(plain.state_dict())
    said = acceleration.accelerate(model, compile="on", channels_last=False, device=CPU)
    assert "6 blocks of the backbone compiled" in said
    assert list(model.state_dict()) == list(plain.state_dict())
    assert all(block._compiled_call_impl is not None for block in model.encoder.net.blocks)
    clip = torch.randn(1, 2, 3, 32, 32)
    torch._dynamo.utils.counters.clear()
    ours, theirs = model.encoder(clip)[0], plain.encoder(clip)[0]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1  # not one that has fallen back in silence
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    for (name, p), q in zip(model.named_parameters(), plain.parameters(), strict=True):
        if q.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4, msg=name)


def test_a_frozen_backbone_answers_what_a_head_can_learn_from():
    """Tensors of inference mode cannot be kept for a backward, so a frozen backbone runs without gradients instead."""
    head, clip = nn.Linear(64, 2), torch.randn(1, 1, 3, 64, 64)
    model = Wrapped("test_vit")
    model.encoder.freeze(True)
    pooled, grid = model.encoder(clip)
    assert (pooled.requires_grad, pooled.is_inference(), grid.is_inference()) == (False, False, False)
    head(pooled).sum().backward()
    assert head.weight.grad is not None
    with torch.inference_mode():
        pooled, _ = model.encoder(clip)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        head(pooled)
