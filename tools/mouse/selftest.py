"""The mouse part of `tarpon selftest`: drawn videos, packed small, and a network that trains on them in seconds."""

from pathlib import Path

from tarpon.tools.mouse.demo import command as demo
from tarpon.tools.mouse.pack import mouse


def prepare(folder: Path) -> list[str]:
    """Make data in a folder; returns the options of a training on them."""
    demo.mouse(out=str(folder / "lab"), videos=3, size=64)
    lab, shards = folder / "lab", folder / "shards"
    mouse(videos=str(lab / "Videos"), annotations=str(lab / "Annotations"), out=str(shards), codec="mjpeg", split="0.6,0.4,0")
    return [
        f"--data={shards}",
        "--model.backbone.name=test_vit",
        "--model.backbone.pretrained=false",
        "--model.backbone.image_size=32",
        "--model.hidden=16",
        "--window.train_frames=24",
        "--window.val_frames=160",
        "--micro_batch=1",
        "--global_batch=2",
        "--freeze_backbone_epochs=1",
        "--ema.enabled=true",
    ]
