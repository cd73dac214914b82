"""The star part of `tarpon selftest`: drawn stars, packed small, and a network that trains on them in seconds."""

from pathlib import Path

from tarpon.tools.star.demo import command as demo
from tarpon.tools.star.pack import star


def prepare(folder: Path) -> list[str]:
    """Make data in a folder; returns the options of a training on them."""
    demo.star(out=str(folder / "lab"), identities=8, distractors=2, sessions=4, images=2, size=64)
    star(root=str(folder / "lab"), out=str(folder / "shards"))
    return [
        f"--data={folder / 'shards'}",
        "--model.backbone.name=test_vit",
        "--model.backbone.pretrained=false",
        "--model.backbone.image_size=32",
        "--model.width=16",
        "--model.embedding_dim=16",
        "--model.head_depth=1",
        "--search.k1=6",
        "--search.k2=2",
        "--num_instances=2",
        "--micro_batch=8",
        "--global_batch=8",
    ]
