"""The cells part of `tarpon selftest`: drawn stacks, packed small, and a network that trains on them in seconds."""

from pathlib import Path

from tarpon.tools.cells.demo import command as demo
from tarpon.tools.cells.pack import cells


def prepare(folder: Path) -> list[str]:
    """Make data in a folder; returns the options of a training on them."""
    demo.cells(out=str(folder / "lab"), stacks=12, pages=8, size=48, onset=1.0)
    config = folder / "lab" / "cells.yaml"
    cells(config=str(config), out=str(folder / "shards"), group="well", split="0.34,0.33,0.33")
    return [
        f"--config={config}",
        f"--data={folder / 'shards'}",
        "--model.backbone.name=test_vit",
        "--model.backbone.image_size=32",
        "--model.hidden_dim=16",
        "--micro_batch=4",
        "--global_batch=8",
    ]
