"""The embedding model: maps of every family, shapes, what learns, the neck, flips."""

import pytest
import timm
import torch
import torch.nn.functional as F

from tarpon.models.backbones.frames import FrameBackbone, FrameEncoder
from tarpon.models.backbones.weights import check_name
from tarpon.models.groups import group_parameters
from tarpon.models.reid.backbones import BACKBONES
from tarpon.models.reid.embedder import ReidModel

SIZE = 64


# Their families' shapes at a size that is quick.
SMALL = {
    "swinv2_tiny_window8_256": {"embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2), "window_size": 4},
    "vit_small_patch16_dinov3": {"embed_dim": 32, "depth": 4, "num_heads": 2},
}


def encoder(name: str) -> FrameEncoder:
    torch.manual_seed(0)
    if name not in SMALL:
        return FrameBackbone(name=name, pretrained=False, image_size=SIZE).build()
    net = timm.create_model(name, num_classes=0, img_size=SIZE, dynamic_img_size=True, **SMALL[name])
    return FrameEncoder(net, image_size=SIZE)


def model(name: str = "test_resnet", **options) -> ReidModel:
    torch.manual_seed(0)
    return ReidModel(encoder(name), **{"width": 24, "embedding_dim": 16, "dropout": 0.0} | options)


def photos(count: int = 4, h: int = SIZE, w: int = SIZE) -> torch.Tensor:
    return torch.randn(count, 3, h, w, generator=torch.Generator().manual_seed(1))


FAMILIES = {  # channels of the last three maps and cells on a side, at 64 pixels
    "test_resnet": ([48, 192, 96], [8, 4, 2]),
    "test_convnext": ([32, 48, 64], [8, 4, 2]),
    "swinv2_tiny_window8_256": ([32, 64, 128], [8, 4, 2]),
    "test_vit": ([64, 64, 64], [4, 4, 4]),  # a class token
    "test_vit2": ([64, 64, 64], [4, 4, 4]),  # its final norm lies behind the pooling
    "vit_small_patch16_dinov3": ([32, 32, 32], [4, 4, 4]),  # registers, rotary positions
}


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_of_every_family(name):
    made = encoder(name).eval()
    channels, cells = FAMILIES[name]
    with torch.no_grad():
        three, one = made.extract_maps(photos(2), stages=3), made.extract_maps(photos(2))
        _, grid = made(photos(2)[None])
    assert [tuple(each.shape) for each in three] == [(2, c, n, n) for c, n in zip(channels, cells, strict=True)]
    torch.testing.assert_close(one[0], three[-1])
    torch.testing.assert_close(one[0], grid[0].permute(0, 3, 1, 2))  # what the encoder itself calls its map
    assert made.restrict_to_maps(stages=3) == channels
    assert made.extract_maps(photos(2), stages=3)[0].requires_grad


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "test_vit2"])
def test_images_need_not_be_square(name):
    made = model(name).eval()
    wide, tall = photos(2, 64, 128), photos(2, 64, 128).mT
    lit = wide.clone()
    lit[..., 4:12, 116:124] += 5.0  # upper right
    with torch.no_grad():
        before, after = made.encoder.extract_maps(wide, stages=3), made.encoder.extract_maps(lit, stages=3)
        for one, other in zip(before, after, strict=True):
            h, w = one.shape[-2:]
            assert w == 2 * h
            at = int((one - other).norm(dim=1)[0].argmax())
            assert at % w >= w - 2  # rows and columns are where they should be
            assert at // w <= 1
        assert made(wide)["embedding"].shape == made(tall)["embedding"].shape == (2, 16)


def test_a_transformer_of_one_stride_is_cut_into_quarters():
    made = encoder("test_vit2").eval()  # 8 blocks
    with torch.no_grad():
        two = made.extract_maps(photos(1), stages=3)[:2]
        wanted = made.net.forward_intermediates(photos(1), indices=[3, 5], intermediates_only=True)
    for one, other in zip(two, wanted, strict=True):
        assert torch.equal(one, other)


def test_passes_change_nothing():
    whole, parts = encoder("test_vit").eval(), encoder("test_vit").eval()
    parts.frames_per_pass = 2
    for one, other in zip(whole.extract_maps(photos(5), stages=3), parts.extract_maps(photos(5), stages=3), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("name", "image", "stages", "said"),
    [
        ("test_vit3", (2, 3, 64, 80), 1, "H = W = 64"),
        ("test_vit", (2, 3, 64, 72), 1, "use 64 or 80"),
        ("test_resnet", (2, 1, 64, 64), 1, r"\(N, 3, H, W\)"),
        ("test_vit", (2, 3, 64, 64), 5, r"stages=5 must be in 1\.\.4"),
        ("test_resnet", (2, 3, 64, 64), 0, r"stages=0 must be in 1\.\.5"),
    ],
)
def test_images_and_stages_that_do_not_fit_are_refused(name, image, stages, said):
    with pytest.raises(ValueError, match=said):
        encoder(name).extract_maps(torch.zeros(image), stages=stages)


@pytest.mark.parametrize(
    ("name", "identities", "multi_stage"),
    [
        ("test_resnet", 0, True),
        ("test_resnet", 7, True),
        ("test_convnext", 0, False),
        ("test_convnext", 7, True),
        ("test_vit2", 0, False),
        ("test_vit2", 7, True),
        ("swinv2_tiny_window8_256", 0, True),
        ("swinv2_tiny_window8_256", 7, False),
        ("lcnet_035", 7, True),
    ],
)
def test_every_parameter_of_the_optimiser_learns(name, identities, multi_stage):
    made = model(name, identities=identities, multi_stage=multi_stage)
    out = made.train()(photos())
    sum(value.square().sum() + value.sum() for value in out.values()).backward()
    groups = group_parameters(made)
    listed = {key: parameter for group in groups.values() for key, parameter in group.items()}
    assert not [key for key, parameter in listed.items() if parameter.grad is None]
    left_out = {key for key, _ in made.named_parameters()} - set(listed)
    assert all(key.startswith(("encoder.net.head", "encoder.net.fc_norm", "encoder.net.conv_head")) for key in left_out)
    assert bool(left_out) == (name in ("test_convnext", "test_vit2", "lcnet_035"))
    assert (made.neck is None) == (identities == 0)
    assert set(out) == {"embedding"} | ({"cosine"} if identities else set())
    assert "pool.p" in groups["rest/no_decay"]
    assert all(key.startswith("encoder.") for key in groups["backbone/decay"])


def test_finding_what_learns_leaves_the_encoder_as_it_was():
    made = encoder("test_resnet")
    before = {key: value.clone() for key, value in made.state_dict().items()}
    made.restrict_to_maps(stages=3)
    assert made.training
    assert made.net.training
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())
    assert all(parameter.grad is None for parameter in made.parameters())


@pytest.mark.parametrize("identities", [0, 7])
def test_shapes_and_lengths(identities):
    made = model(identities=identities)
    out = made.train()(photos())
    assert out["embedding"].shape == (4, 16)
    assert not torch.allclose(out["embedding"].norm(dim=1), torch.ones(4))
    if identities:
        assert out["cosine"].shape == (4, 7)
        assert out["cosine"].abs().max() <= 1 + 1e-6
    out = made.eval()(photos())
    assert list(out) == ["embedding"]
    torch.testing.assert_close(out["embedding"].norm(dim=1), torch.ones(4))
    assert all(value.dtype == torch.float32 for value in out.values())


def test_the_neck_normalises_over_the_rows_of_all_processes():
    others = torch.randn(6, 16)
    made = model(identities=5, gather=lambda mine: torch.cat([mine, others])).train()
    out = made(photos())
    rows = torch.cat([made.embed(photos()), others])
    torch.testing.assert_close(out["embedding"], rows)
    necked = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + made.neck.eps).sqrt()
    torch.testing.assert_close(out["cosine"], F.cosine_similarity(necked[:, None], made.classifier.weight[None], dim=-1))
    torch.testing.assert_close(made.neck.running_mean, 0.1 * rows.mean(0), atol=1e-6, rtol=1e-4)
    assert made.eval()(photos())["embedding"].shape == (4, 16)  # and no gathering in evaluation


def test_photographs_are_matched_behind_the_neck():
    made = model(identities=5).train()
    for _ in range(3):
        made(photos(8))
    made.eval()
    plain = F.normalize(made.embed(photos()), dim=1)
    assert not torch.allclose(made(photos())["embedding"], plain, atol=1e-3)
    without = model().eval()
    torch.testing.assert_close(without(photos())["embedding"], F.normalize(without.embed(photos()), dim=1))


def test_flips_are_the_mean_of_three_views():
    made, image = model(identities=3).eval(), photos()
    views = [made(view)["embedding"] for view in (image, image.flip(3), image.flip(2))]
    wanted = F.normalize(sum(views), dim=1)
    out = made(image, flips=True)
    torch.testing.assert_close(out["embedding_flips"], wanted)
    torch.testing.assert_close(out["embedding"], views[0])
    some = torch.tensor([True, False, False, True])
    out = made(image, flips=some)["embedding_flips"]
    torch.testing.assert_close(out, torch.where(some[:, None], wanted, views[0]))
    torch.testing.assert_close(made(image, flips=~some & some)["embedding_flips"], views[0])
    assert "embedding_flips" not in made.train()(image, flips=True)


def test_a_frozen_backbone_does_not_move_and_the_rest_does():
    made = model(identities=5)
    made.freeze_backbone(True)
    made.train()
    kept = {key: value.clone() for key, value in made.encoder.state_dict().items()}
    made(photos())["cosine"].sum().backward()
    assert all(torch.equal(value, kept[key]) for key, value in made.encoder.state_dict().items())
    moved = {key for key, parameter in made.named_parameters() if parameter.grad is not None}
    assert moved == {key for key, _ in made.named_parameters() if not key.startswith("encoder.")}
    made.freeze_backbone(False)
    made(photos())["cosine"].sum().backward()
    assert made.encoder.net.conv1[0].weight.grad.abs().sum() > 0


def test_an_embedding_does_not_depend_on_the_batch():
    made = model("test_vit").train()
    torch.testing.assert_close(made(photos())["embedding"][:1], made(photos()[:1])["embedding"], atol=1e-5, rtol=1e-4)


def test_16_bits_answer_in_float32():
    for made in (model(identities=3).bfloat16(), model(identities=3)):
        with torch.autocast("cpu", torch.bfloat16, enabled=next(made.parameters()).dtype == torch.float32):
            outs = [made.train()(photos()), made.eval()(photos(), flips=True)]
        for value in (value for out in outs for value in out.values()):
            assert value.dtype == torch.float32
            assert value.isfinite().all()


def test_defaults_are_those_published():
    made = ReidModel(encoder("test_resnet"))
    assert made.fusion.norm.weight.shape == (512,)
    linear = [layer for layer in made.head if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(512, 512)] * 3
    assert made.pool.p.item() == 3


def test_the_table_names_models_that_exist():
    for backbone in BACKBONES.values():
        check_name(backbone.name)
    assert {backbone.image_size for backbone in BACKBONES.values()} == {224, 384, 392}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"identities": 1}, "identities"),
        ({"head_depth": 0}, "head_depth"),
        ({"dropout": 1.0}, "dropout"),
        ({"p": 0.0}, "p=0.0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        model(**options)
