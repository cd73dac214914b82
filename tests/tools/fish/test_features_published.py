"""The published extraction command as it stands: packs, extracts, and writes metadata.json as that program did."""

import json

import numpy as np
import pytest

from tarpon.shards.features import open_features
from tarpon.tools import cli
from tarpon.tools.fish import features_published
from tarpon.tools.fish.demo import lab as demo

TINY = "--hub-name test_vit --pretrained false --resize-size 40 --crop-size 32 --num-workers 1"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    out = tmp_path_factory.mktemp("fishnet")
    demo.write(out, images=60, families=4, size=48, workers=1)
    return out


def test_it_runs_from_images_to_features_and_what_our_own_command_makes_is_the_same(lab, tmp_path, capsys):
    words = f"--dataset-root {lab / 'images'} --output-dir {tmp_path / 'out'} --batch-size 16 --fp16 --distributed {TINY}"
    assert cli.main(["features", *words.split()]) == 0
    found, told = open_features(tmp_path / "out"), json.loads((tmp_path / "out/metadata.json").read_text())
    assert found.features.dtype == np.float16
    assert set(told) == {
        "dataset_root", "ann_root", "class_to_idx", "classes", "transform", "splits", "hub_name", "weights",
    }  # fmt: skip
    assert told["ann_root"] == str((lab / "anns").resolve())
    assert [told["classes"][i] for i in told["class_to_idx"].values()] == told["classes"] == found.card["classes"]["families"]
    assert {name: split["count"] for name, split in told["splits"].items()} == {
        name: len(found.split(name)) for name in ("train", "val", "test")
    }
    own = ["features", str(tmp_path / "out/shards"), "--backbone=test_vit", "--pretrained=false", f"--out={tmp_path / 'own'}"]
    assert cli.main([*own, "--image_size=32", "--resize=40", "--threads=1", "--batch=16"]) == 0
    np.testing.assert_array_equal(found.features, open_features(tmp_path / "own").features)
    capsys.readouterr()
    assert cli.main(["features", *words.split()]) == 0  # again: nothing to do
    assert "holds these features already" in capsys.readouterr().out
    shards = f"--dataset-root {tmp_path / 'out/shards'} --output-dir {tmp_path / 'two'} --batch-size 16 {TINY}"
    assert cli.main(["features", *shards.split()]) == 0
    assert not (tmp_path / "two/shards").exists()


def test_the_documented_command_line_is_our_own_in_other_words(lab, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(features_published.features, "run", lambda shards, **said: seen.update(said, shards=shards) or 1)
    monkeypatch.setattr(features_published.pack, "fish", lambda **said: seen.update(packed=said) or 0)
    line = (
        f"--dataset-root {lab / 'images'} --ann-root {lab / 'anns'} --output-dir {tmp_path} --hub-name dinov3_vitl16 "
        "--weights dinov3_vitl16_pretrain_lvd1689m.pth --batch-size 256 --num-workers 8 --resize-size 256 --crop-size 224 "
        "--seed 17 --val-ratio 0.2 --test-ratio 0.15 --disable-normalize --multi-scale"
    )
    assert cli.main(["features", *line.split()]) == 1
    assert (seen["backbone"], seen["dtype"]) == ("vit_large_patch16_dinov3", "fp32")
    assert (seen["l2"], seen["multi_scale"]) == (False, True)
    assert (seen["batch"], seen["threads"], seen["resize"], seen["image_size"]) == (256, 8, 256, 224)
    assert (seen["packed"]["val_share"], seen["packed"]["seed"]) == (0.2, 17)
    assert seen["packed"]["annotations"] == str(lab / "anns")


@pytest.mark.parametrize("name", features_published.HUB.values())
def test_every_published_backbone_is_one_of_timm(name):
    from tarpon.models.backbones.weights import check_name

    check_name(name)
