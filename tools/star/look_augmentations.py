"""`tarpon look augmentations`: photographs as training sees them, each kind of variation by itself, then the whole sets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Loader
from tarpon.pipelines.photo.feed import PhotoFields, PhotoRequest, request_photos
from tarpon.pipelines.photo.graph import PhotoGraph
from tarpon.shards import atomic
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader
from tarpon.shards.sampling.photo_augment import PhotoAugment, underwater, wildlife
from tarpon.shards.tar_cache import CACHE_BYTES, Cache
from tarpon.tools.contact_sheet import COLUMNS, contact_sheet

SHEET = "augmentations.png"
COLUMN = "jpg"


def list_kinds() -> dict[str, PhotoAugment]:
    """Name -> what varies that and nothing else; the whole sets come last."""
    still = replace(underwater(), **{name: 0.0 for name in vars(PhotoAugment()) if name.endswith("_p")}, crop_area=(1.0, 1.0))
    no_affine = {"scale": (1.0, 1.0), "shift": 0.0, "angle": 0.0, "shear": 0.0}
    alone = {
        "flips": {"flip_x_p": 0.5, "flip_y_p": 0.5},
        "quarter turns": {"quarter_p": 1.0},
        "crop": {"crop_area": (0.7, 1 / 0.7), "crop_aspect": (0.8, 1 / 0.8)},
        "turn": {"affine_p": 1.0, **no_affine, "angle": 45.0},
        "scale, shift, shear": {"affine_p": 1.0, "angle": 0.0},
        "perspective": {"perspective_p": 1.0},
        "colour jitter": {"jitter_p": 1.0},
        "grey": {"grey_p": 1.0},
        "water's tint": {"tint_p": 1.0},
        "CLAHE": {"clahe_p": 1.0},
        "blur": {"blur_p": 1.0},
        "motion blur": {"motion_p": 1.0},
        "sharpening": {"sharpen_p": 1.0},
        "spatter": {"spatter_p": 1.0},
        "noise": {"noise_p": 1.0},
        "JPEG": {"jpeg_p": 1.0},
        "coarse dropout": {"holes_p": 1.0},
        "erasing": {"erase_p": 1.0},
        "pixel dropout": {"dropout_p": 1.0},
    }
    return {name: replace(still, **given) for name, given in alone.items()} | {
        "wildlife": wildlife(),
        "underwater": underwater(),
    }


def draw_sheet(manifest: Manifest, *, size: int, seed: int) -> bytes:
    """A PNG: a line of each kind, the photograph as evaluation sees it and its draws.

    Args:
        size: pixels, both sides, that are delivered; the sheet shows them in tiles.
    """
    rows = np.random.default_rng(seed).permutation(len(manifest))
    work: list[PhotoRequest] = []
    captions = []
    for number, (name, augment) in enumerate(list_kinds().items()):
        line = np.repeat(rows[number % len(rows)], COLUMNS - 1)
        drawn = request_photos(
            line, augments=(augment,), seed=seed, slots=range(number * COLUMNS, number * COLUMNS + COLUMNS - 1)
        )
        work += [PhotoRequest(row=int(line[0])), *drawn]
        captions += [(f"{name}: none",), *((name,) for _ in drawn)]
    return contact_sheet(render(manifest, work, size=size), captions)


def render(manifest: Manifest, work: list[PhotoRequest], *, size: int) -> list[Image.Image]:
    """The pictures as the training graph delivers them, before they are normalised."""
    fields, reader = PhotoFields(size=size, mean=(0.0,) * 3, std=(1 / 255,) * 3), Reader(manifest)
    feed = Feed(manifest, reader, fields, pool=np.arange(len(manifest)), budget=Budget(0))
    loader = Loader(PhotoGraph(batch=COLUMNS, size=size), feed, device=None)
    lines = [work[first : first + COLUMNS] for first in range(0, len(work), COLUMNS)]
    pictures = [
        Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
        for batch in loader.run(lines)
        for pixels in batch["image"].permute(0, 2, 3, 1).numpy()
    ]
    reader.close()
    return pictures


def run(
    shards: str,
    *,
    out: str | None = None,
    size: int = 384,
    seed: int = 0,
    cache: str | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> int:
    """Draw how photographs are varied in training: each kind by itself, then both sets.

    Args:
        shards: folder that `tarpon pack` wrote, of photographs.
        out: PNG file; unset writes augmentations.png into the folder.
        size: pixels, both sides, that the model gets.
        seed: another one picks other photographs and draws.
        cache: folder for fetched tars, of shards at a URL.
        cache_bytes: most bytes that it may hold.

    Returns:
        0.
    """
    manifest = open_manifest(shards, cache=Cache.of(cache, cache_bytes))
    if f"{COLUMN}_size" not in manifest.table.column_names:
        raise ValueError(f"{shards}: holds {manifest.card.get('kind')} data; augmentations are of photographs stored as JPEG")
    if not len(manifest):
        raise ValueError(f"{shards}: holds no sample")
    if out is None and "://" in shards:
        raise ValueError(f"{shards} is remote: name a local picture to write (--out FILE.png)")
    path = Path(out) if out else Path(shards) / SHEET
    atomic.write_bytes(path, draw_sheet(manifest, size=size, seed=seed))
    print(f"picture: {path}")
    return 0
