"""The image encoder: which token it takes, and the same weights at every scale."""

import pytest
import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn
from torch.nn import functional as F

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.models.backbones.image import ImageEncoder

SIZE = 64


def encoder_of(name: str, *, size: int = SIZE, **options) -> ImageEncoder:
    return ImageEncoder(FrameBackbone(name=name, pretrained=False, image_size=size), **options)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def test_the_class_token_is_taken_where_there_is_one(images):
    encoder = encoder_of("test_vit", l2=False)
    tokens = encoder.net.forward_features(images)
    torch.testing.assert_close(encoder(images), tokens[:, 0])
    assert encoder.dim == tokens.shape[-1]


def test_the_class_token_is_taken_where_timm_would_average_the_patches():
    """As in timm's DINOv3; here behind its final norm, which such a model applies after the pooling."""
    encoder = encoder_of("eva02_tiny_patch14_224", size=56, l2=False)
    images = torch.randn(1, 3, 56, 56)
    tokens = encoder.net.forward_features(images)
    assert encoder.net.global_pool == "avg"
    torch.testing.assert_close(encoder(images), encoder.net.fc_norm(tokens[:, 0]))
    assert not torch.allclose(encoder(images), encoder.net.forward_head(tokens, pre_logits=True))


@pytest.mark.parametrize("name", ["lcnet_035", "test_vit3"])  # a network of convolutions; a transformer without class token
def test_other_models_give_their_pooled_vector(images, name):
    encoder = encoder_of(name, l2=False)
    torch.testing.assert_close(encoder(images), encoder.net(images))
    assert encoder(images).shape == (2, encoder.dim)


def test_l2_gives_vectors_of_length_one_and_keeps_their_direction(images):
    plain, unit = encoder_of("test_vit", l2=False)(images), encoder_of("test_vit")(images)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(unit, plain / plain.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "lcnet_035"])  # any size by itself; one size; convolutions
def test_multi_scale_is_the_mean_over_three_sizes(images, name):
    encoder = encoder_of(name, multi_scale=True)
    patch = 1 if name == "lcnet_035" else 16
    sizes = [64, 45 if patch == 1 else 48, 32]
    assert list(encoder.sizes) == sizes
    vectors = []
    for size in sizes:
        other = timm.create_model(name, num_classes=0, **({} if patch == 1 else {"img_size": size})).eval()
        state = encoder.net.state_dict()
        other.load_state_dict(state if patch == 1 else checkpoint_filter_fn(state, other))
        scaled = F.interpolate(images, size=(size, size), mode="bilinear") if size != 64 else images
        features = other.forward_features(scaled)
        has_class = getattr(other, "cls_token", None) is not None
        vectors.append(features[:, 0] if has_class else other.forward_head(features, pre_logits=True))
    mean = torch.stack(vectors).mean(0)
    torch.testing.assert_close(encoder(images), F.normalize(mean, dim=1), atol=1e-5, rtol=1e-4)


def test_scales_share_their_weights():
    one, three = encoder_of("test_vit3"), encoder_of("test_vit3", multi_scale=True)
    extra = sum(p.numel() for p in three.parameters()) - sum(p.numel() for p in one.parameters())
    assert extra == one.dim * (3 * 3 + 2 * 2 + 2 * three.net.num_prefix_tokens * (not three.net.no_embed_class))


def test_random_weights_are_the_same_every_time_and_have_one_hash():
    torch.manual_seed(5)
    one = encoder_of("test_vit")
    torch.manual_seed(6)
    two = encoder_of("test_vit")
    assert one.weights_sha256() == two.weights_sha256()
    with torch.no_grad():
        next(two.net.parameters()).view(-1)[0] += 1
    assert one.weights_sha256() != two.weights_sha256()


def test_it_stays_in_evaluation_mode_without_gradients(images):
    encoder = encoder_of("lcnet_035").train()
    assert not encoder.net.training
    assert not encoder(images).requires_grad
    torch.testing.assert_close(encoder(images)[:1], encoder(images[:1]), atol=1e-5, rtol=1e-4)


def test_wrong_sizes_and_models_of_one_size_are_refused(images):
    with pytest.raises(ValueError, match=r"images must be \(N, 3, 64, 64\), got \(2, 3, 64, 60\)"):
        encoder_of("test_vit")(images[..., :60])
    with pytest.raises(ValueError, match="mixer_s32_224 takes images of 64 pixels only; leave multi_scale out"):
        encoder_of("mixer_s32_224", multi_scale=True)
