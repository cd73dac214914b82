"""Shards of images into a cache of vectors: the right vector at every row, whole after a kill, on any number of processes."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from PIL import Image
from torchvision import transforms

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.shards import features
from tarpon.shards.features import PARTS, open_features
from tarpon.shards.manifest import NEEDED, Manifest, open_manifest, write_manifest
from tarpon.shards.reader import Reader
from tarpon.shards.schema import VERSION
from tarpon.tools import cli
from tarpon.tools.features import Recipe, encode_images

SIZE, RESIZE = 32, 40
OPTIONS = ["--backbone=test_vit", "--pretrained=false", f"--image_size={SIZE}", f"--resize={RESIZE}", "--threads=1"]


def extract(manifest: Manifest, out: Path, *options: str) -> int:
    return cli.main(["features", manifest.root, "--out", str(out), *OPTIONS, *options])


@pytest.fixture(scope="module")
def cached(fish_shards, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("features") / "cache"
    assert extract(fish_shards, out, "--batch=16") == 0
    return out


def oracle(manifest: Manifest, row: int) -> np.ndarray:
    """A row's vector by Pillow, torchvision and timm alone."""
    torch.manual_seed(0)
    net = FrameBackbone(name="test_vit", pretrained=False, image_size=SIZE).build().net.eval()
    steps = [
        transforms.Resize(RESIZE, transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(SIZE),
        transforms.ToTensor(),
        transforms.Normalize((0.5,) * 3, (0.5,) * 3),
    ]
    image = transforms.Compose(steps)(Image.open(io.BytesIO(Reader(manifest).read(row, "jpg"))))
    with torch.no_grad():
        vector = net.forward_features(image[None])[0, 0]
    return (vector / vector.norm()).numpy()


def test_every_row_has_the_vector_of_its_image(fish_shards, cached):
    table = open_features(cached)
    assert len(table) == len(fish_shards) > 100
    assert table.features.dtype == np.float16
    for row in (0, 17, len(table) - 1):
        found = table.features.astype(np.float32) @ oracle(fish_shards, row)
        assert found[row] > 0.9995  # cosine; JPEG decoders and resizing differ by a grey level
        assert found.argmax() == row


def test_labels_and_card_are_those_of_the_shards(fish_shards, cached):
    table = open_features(cached)
    for name in ("key", "split", "group", "family", "order", "species", "troph", "feeding", "habitat"):
        assert table.labels[name].equals(fish_shards.table[name])
    card = table.card
    assert card["classes"]["families"] == fish_shards.card["families"]
    assert card["manifest"] == fish_shards.fingerprint()
    assert (card["backbone"], card["transform"]["crop"], card["l2"], card["multi_scale"]) == ("test_vit", SIZE, True, None)
    assert (card["count"], card["dim"], card["dtype"], card["computed_in"]) == (len(table), 64, "fp16", "fp32")
    assert (table.codes("family", card["classes"]["families"]) >= 0).all()
    missing = pc.is_null(fish_shards.table["habitat"]).to_numpy()
    assert 0 < missing.sum() < len(table)
    np.testing.assert_array_equal((table.flags("habitat", 8) == -1).all(1), missing)
    np.testing.assert_array_equal(np.isnan(table.numbers("troph")), missing)


def test_the_same_again_does_nothing_and_other_settings_are_refused(fish_shards, cached, capsys):
    before = (cached / "features.arrow").stat().st_mtime_ns
    assert extract(fish_shards, cached, "--batch=5") == 0  # how it is computed is not what it is
    assert "holds these features already" in capsys.readouterr().out
    assert (cached / "features.arrow").stat().st_mtime_ns == before
    for option, said in (
        ("--l2=false", "l2=True, asked: False"),
        ("--dtype=fp32", "dtype=fp16, asked: fp32"),
        ("--resize=33", "transform.resize=40, asked: 33"),
        ("--multi-scale", "multi_scale=None"),
        ("--backbone=lcnet_035", "backbone=test_vit, asked: lcnet_035"),
    ):
        assert extract(fish_shards, cached, option) == 2
        error = capsys.readouterr().err.strip()
        assert said in error
        assert error.count("\n") == 0


def test_stopped_by_a_bad_image_it_names_it_and_goes_on_when_mended(fish_shards, cached, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(features, "CHUNK_ROWS", 32)
    shutil.copytree(fish_shards.root, tmp_path / "shards")
    copy = open_manifest(tmp_path / "shards")
    tar = tmp_path / "shards" / copy.value(100, "shard")
    whole = tar.read_bytes()
    at = copy.value(100, "jpg_offset")
    tar.write_bytes(whole[:at] + bytes(50) + whole[at + 50 :])
    out = tmp_path / "out"
    assert extract(copy, out, "--batch=8", "--dtype=fp32") == 2
    assert copy.value(100, "key") in capsys.readouterr().err
    parts = sorted(path.name for path in (out / PARTS).glob("chunk-*"))
    assert parts[:2] == ["chunk-00000.npy", "chunk-00001.npy"]
    assert "chunk-00003.npy" not in parts  # rows 96..127
    mark = np.full((32, 64), 7, np.float32)
    np.save(out / PARTS / "chunk-00000.npy", mark)  # to be seen again: what is done is not done twice
    tar.write_bytes(whole)
    assert extract(copy, out, "--batch=12", "--dtype=fp32") == 0
    table = open_features(out)
    np.testing.assert_array_equal(table.features[:32], mark)
    np.testing.assert_allclose(table.features[32:], open_features(cached).features[32:], atol=1e-3)
    assert not (out / PARTS).exists()


def test_a_prediction_makes_the_same_vectors_from_the_card(fish_shards, cached):
    table = open_features(cached)
    recipe = Recipe.from_card(table.card, pretrained=False)
    encoder = recipe.encoder()
    recipe.check(encoder, table.card)
    rows = np.array([5, 3, 90])
    loader = recipe.loader(fish_shards, Reader(fish_shards), batch=2, device=None, threads=1)
    vectors = torch.cat(list(encode_images(encoder, loader, rows, batch=2, device=torch.device("cpu"))))
    np.testing.assert_allclose(vectors, table.features[rows], atol=1e-3)
    with torch.no_grad():
        next(encoder.net.parameters()).view(-1)[0] += 1
    with pytest.raises(ValueError, match="not those that the features were made with"):
        recipe.check(encoder, table.card)


def test_the_closing_line_tells_the_speed_and_the_wait(fish_shards, tmp_path, capsys):
    assert extract(fish_shards, tmp_path / "out") == 0
    assert re.search(r"\d+ rows/s a process, \d+% of the time waiting for images", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dtype=bf16"], "dtype='bf16' must be fp16 or fp32"),
        (["--batch=0"], "batch=0 must be at least 1"),
        (["--image_size=64"], "image_size=64 must be at least 1 and at most resize=40"),
        (["--backbone=nonesuch"], "unknown backbone 'nonesuch'"),
    ],
)
def test_mistakes_are_told_in_one_line(fish_shards, tmp_path, capsys, options, said):
    assert extract(fish_shards, tmp_path / "out", *options) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_shards_without_images_are_refused(tmp_path, capsys):
    card = {"kind": "toy", "schema_version": VERSION, "components": {"text.txt": "text"}}
    write_manifest(tmp_path, pa.table({name: ["a"] for name in NEEDED}), card)
    assert extract(open_manifest(tmp_path), tmp_path / "out") == 2
    assert "holds toy data without jpg images" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_make_the_same_cache(fish_shards, cached, tmp_path):
    root, out = Path(__file__).resolve().parents[2], tmp_path / "out"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [str(Path(sys.executable).with_name("deepspeed")), "--num_accelerators=2", f"--master_port={port}"]
    words = [*launcher, str(root / "tools" / "features.py"), fish_shards.root, "--out", str(out), *OPTIONS, "--batch=16"]
    own = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")  # a run in this process set them
    env = {key: value for key, value in os.environ.items() if key not in own} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(open_features(out).features, open_features(cached).features, atol=1e-3)
    assert json.loads((out / "features.json").read_text()) == json.loads((cached / "features.json").read_text())
