"""Backbones for re-identification by the names they were published under."""

from tarpon.models.backbones.frame_backbone import FrameBackbone

# The published names, with two transformers and the animal model of Cermak et al. (WACV 2024) beside them.
BACKBONES = {
    name: FrameBackbone(name=timm, image_size=size)
    for name, timm, size in (
        ("swinv2-tiny", "swinv2_tiny_window8_256.ms_in1k", 384),
        ("swinv2-small", "swinv2_small_window16_256.ms_in1k", 384),
        ("convnext-tiny", "convnext_tiny.fb_in1k", 384),
        ("convnext-small", "convnext_small.fb_in1k", 384),
        ("convnext-base", "convnext_base.fb_in1k", 384),
        ("resnet50", "resnet50.tv2_in1k", 384),
        ("resnet101", "resnet101.tv2_in1k", 384),
        ("densenet121", "densenet121.tv_in1k", 384),
        ("densenet169", "densenet169.tv_in1k", 384),
        ("densenet201", "densenet201.tv_in1k", 384),
        ("dinov2-small", "vit_small_patch14_dinov2.lvd142m", 392),
        ("dinov3-small", "vit_small_patch16_dinov3.lvd1689m", 384),
        ("megadescriptor-tiny", "hf_hub:BVRA/MegaDescriptor-T-224", 224),
    )
}
