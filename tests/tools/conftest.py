"""A star run that several tools read: drawn animals, packed, and a tiny network hardly trained on them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.tools import cli
from tarpon.tools.star.demo import lab as star_demo
from tarpon.train import launch

TINY = [
    *("--model.backbone.name=resnet10t", "--model.backbone.pretrained=false", "--model.backbone.image_size=32"),
    *("--model.width=16", "--model.embedding_dim=16", "--model.head_depth=1", "--search.k1=6", "--search.k2=3"),
    *("--micro_batch=16", "--global_batch=16", "--steps=4", "--eval_every=1", "--optim.lr=1e-3", "--loader.threads=1"),
]


@dataclass(frozen=True, kw_only=True)
class StarRun:
    """A finished run with what it was made from."""

    folder: Path
    lab: Path  # <data set>/<animal>/<outing>/<picture>
    shards: Manifest


@pytest.fixture(scope="session")
def star_run(tmp_path_factory) -> StarRun:
    """8 animals of several days, one of them held out as new, 2 distractors; pictures of 64 pixels."""
    root = tmp_path_factory.mktemp("star_run")
    star_demo.write(root / "lab", identities=8, distractors=2, sessions=4, images=2, size=64)
    packed = ["--root", str(root / "lab"), "--out", str(root / "shards"), "--open_set", "0.15", "--workers", "1"]
    assert cli.main(["pack", "star", *packed]) == 0
    assert launch.main(["star", f"--data={root / 'shards'}", f"--out={root / 'run'}", *TINY]) == 0
    return StarRun(folder=root / "run", lab=root / "lab", shards=open_manifest(root / "shards"))
