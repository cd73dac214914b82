"""Names that people read in a table of runs."""

import pytest

from tarpon.train.tasks.mouse.names import run_name


def test_the_default_run_has_the_published_name():
    name = run_name(backbone="vit_small_patch14_dinov2.lvd142m", batch=2, lr=5e-5, gamma=2.5, smoothing=0.1, weight_decay=0.05)
    assert name == "vit_small_b2_lr5e-5_g2.5_ls0.1_wd5e-2"


@pytest.mark.parametrize(
    ("backbone", "short"),
    [
        ("vit_base_patch16_224.augreg_in21k", "vit_base"),
        ("resnet50.a1_in1k", "resnet50"),
        ("MCG-NJU/videomae-base", "videomae-base"),
        ("facebook/vit_small_patch16.v2", "vit_small"),
    ],
)
def test_a_backbone_is_called_by_its_family(backbone, short):
    assert run_name(backbone=backbone, batch=1, lr=1, gamma=0, smoothing=0, weight_decay=0).startswith(f"{short}_b1_")


def test_numbers_are_short_and_keep_their_value():
    name = run_name(backbone="m", batch=16, lr=0.00015, gamma=2, smoothing=0.05, weight_decay=0)
    assert name == "m_b16_lr1.5e-4_g2_ls0.05_wd0"
    assert "_lr1e0_" in run_name(backbone="m", batch=1, lr=1.0, gamma=0, smoothing=0, weight_decay=0)
