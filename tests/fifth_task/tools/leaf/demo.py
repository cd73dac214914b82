"""`tarpon demo leaf`: drawn leaves to try everything on."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = {"birch": (0.5, "#4C8C2B"), "lime": (0.8, "#7FB03C"), "willow": (0.2, "#9AB89A")}  # width over length, colour


def leaf(*, out: str, plants: int = 10, leaves: int = 4, size: int = 64, seed: int = 0) -> int:
    """Write pictures as <species>/<plant>_<number>.jpg.

    Args:
        out: folder to make.
        plants: of each species; leaves: of each plant.
        size: pixels, both sides.
        seed: the same seed gives the same leaves.
    """
    rng = np.random.default_rng(seed)
    for species, (share, colour) in SHAPES.items():
        (Path(out) / species).mkdir(parents=True)
        for plant in range(plants):
            for number in range(leaves):
                picture = Image.new("RGB", (size, size), tuple(rng.integers(200, 256, 3).tolist()))
                half = size * rng.uniform(0.3, 0.45) * np.array([1, share])
                box = (*(size / 2 - half), *(size / 2 + half))
                ImageDraw.Draw(picture).ellipse(box, fill=colour)
                picture.rotate(rng.uniform(0, 360), fillcolor="white").save(Path(out) / species / f"plant{plant}_{number}.jpg")
    print(f"{len(SHAPES)} species, {len(SHAPES) * plants * leaves} pictures: {out}")
    return 0
