"""The star part of `tarpon bench loader`: photographs varied by both sets, each against what it was published with.

All deliver the training photographs of the same shards, at the same size, each once an epoch.
"""

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Loader
from tarpon.pipelines.photo.banks import draw_smooth_noise
from tarpon.pipelines.photo.feed import PhotoFields, PhotoRequest, request_photos
from tarpon.pipelines.photo.graph import PhotoGraph
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.pack import Packing, pack
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader
from tarpon.shards.sampling.photo_augment import PhotoAugment, underwater, wildlife
from tarpon.shards.sources.star import source
from tarpon.tools.bench.loader import LoaderBenchmark
from tarpon.tools.bench.results import Comparison, Variant
from tarpon.tools.star import baseline_loader

WILDLIFE, UNDERWATER = "tarpon, wildlife set", "tarpon, underwater set"
READY = "{}, photographs packed at the size"
PILLOW, ALBUMENTATIONS = "Pillow + torchvision + DataLoader", "OpenCV + Albumentations + DataLoader"
BASELINES = {PILLOW: "pillow", ALBUMENTATIONS: "albumentations"}
AIMS = {WILDLIFE: (PILLOW, 3.0), UNDERWATER: (ALBUMENTATIONS, 2.0)}
RATIOS = {"tarpon_over_torchvision": (WILDLIFE, PILLOW), "tarpon_over_albumentations": (UNDERWATER, ALBUMENTATIONS)}
STILL, EVALUATION = "tarpon, nothing drawn", "tarpon, as in evaluation"
LONGEST, SHORTER = 620, 465  # pixels, as published
QUALITY = 95  # of JPEG, as published
OCTAVES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # pixels: sd of the blurs that make a photograph of noise
CONTRAST = 24  # grey levels: sd of each of them, halved for the finest two


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is delivered, and with what."""

    shards: str
    files: str  # folder of the same photographs as JPEG files
    size: int  # pixels, both sides
    batch: int  # photographs
    device: int | None  # GPU ordinal; None: CPU
    cores: int


@contextmanager
def prepare(
    *,
    device: int | None,
    cores: int,
    shards: str | None = None,
    size: int = 384,
    batch: int = 32,
    photos: int = 96,
    stages: bool = False,
) -> Iterator[Comparison]:
    """What is to be timed; photographs are made up, and packed, unless shards are given."""
    for name in ("cv2", "albumentations"):
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"the baselines need {name}: pip install 'tarpon[bench]'")
    with tempfile.TemporaryDirectory(prefix="tarpon-bench-") as folder:
        ready = None
        if shards is None:
            shards = write_photographs(Path(folder), photos=photos, workers=cores)
            ready = pack_photographs(Path(folder), to=Path(folder) / "ready", longest_side=size, workers=cores)
        files = Path(folder) / "files"
        write_files(open_manifest(shards, kind="reid"), files, batch=batch)
        setup = Setup(shards=shards, files=str(files), size=size, batch=batch, device=device, cores=cores)
        presets = {WILDLIFE: wildlife(), UNDERWATER: underwater()}
        ways = [(name, setup, chosen) for name, chosen in {**presets, **(list_parts() if stages else {})}.items()]
        at_size = [(READY.format(name), replace(setup, shards=ready), chosen) for name, chosen in presets.items() if ready]
        yield Comparison(
            unit="photos",
            variants=(
                *(Variant(name=n, make=tarpon_steps, arguments={"setup": s, "augment": a}) for n, s, a in ways + at_size),
                *(Variant(name=n, make=baseline_steps, arguments={"setup": setup, "reader": r}) for n, r in BASELINES.items()),
            ),
            ratios=RATIOS | {f"ready_{name}": (READY.format(over), under) for name, (over, under) in RATIOS.items() if ready},
            verdict=describe_verdict,
        )


def describe_verdict(speed: dict[str, float]) -> str:
    lines = []
    for plain, (baseline, aim) in AIMS.items():
        for name in (plain, READY.format(plain)):
            if name in speed:
                ratio = speed[name] / speed[baseline]
                lines.append(
                    f"{name}: {ratio:.1f} times {baseline}; the aim is {aim:g}: {'met' if ratio >= aim else 'MISSED'}."
                )
    return "\n".join(lines)


def list_parts() -> dict[str, PhotoAugment | None]:
    """Evaluation, nothing drawn, and each set without one of its kinds."""
    sets = {WILDLIFE: wildlife(), UNDERWATER: underwater()}
    without = {
        f"{name} but {field}": replace(chosen, **{field: 0.0})
        for name, chosen in sets.items()
        for field, chance in vars(chosen).items()
        if field.endswith("_p") and chance and not field.startswith("flip")
    }
    return {EVALUATION: None, STILL: PhotoAugment(), **without}


def write_photographs(folder: Path, *, photos: int, workers: int) -> str:
    """Write photographs of noise at all scales, as detailed as real ones, and pack them all for training."""
    rng, side = np.random.default_rng(0), LONGEST + 100
    layers = [draw_smooth_noise(rng, side, sd).astype(np.float32) for sd in OCTAVES]
    for number in range(photos):
        picture = np.full((SHORTER, LONGEST, 3), 110, np.float32)
        for level, layer in enumerate(layers):
            top, left = rng.integers(0, side - SHORTER), rng.integers(0, side - LONGEST)
            tone = rng.uniform(0.5, 1, 3) * CONTRAST / (2 if level < 2 else 1)
            picture += layer[top : top + SHORTER, left : left + LONGEST, None] * tone
        path = folder / "stars" / f"star_{number:04d}" / "2024-05-01" / "photo.jpg"
        path.parent.mkdir(parents=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path, quality=QUALITY)
    return pack_photographs(folder, to=folder / "shards", longest_side=LONGEST, workers=workers)


def pack_photographs(folder: Path, *, to: Path, longest_side: int, workers: int) -> str:
    """Pack the photographs of `write_photographs`, larger ones made smaller to that longest side."""
    options = source.StarSource(longest_side=longest_side)
    found = source.scan(folder / "stars", options)
    packing = Packing(out=to, split=(0.8, 0.0, 0.2), workers=workers)
    pack(source.STAR, found, options=options, packing=packing, progress=False)
    return str(to)


def write_files(manifest: Manifest, folder: Path, *, batch: int) -> None:
    """The training photographs as files; ValueError where they do not fill a batch."""
    rows, reader = manifest.rows("train"), Reader(manifest)
    if len(rows) < batch:
        raise ValueError(
            f"{manifest.root}: {len(rows)} training photographs do not fill a batch of {batch}; give a smaller --batch"
        )
    folder.mkdir()
    for row in rows.tolist():
        (folder / f"{row:07d}.jpg").write_bytes(reader.read(row, "jpg"))
    reader.close()


def tarpon_steps(*, setup: Setup, augment: PhotoAugment | None) -> Iterator[int]:
    """Photographs of each batch that Tarpon's loader delivers."""
    manifest = open_manifest(setup.shards, kind="reid")
    rows = manifest.rows("train")
    fields = PhotoFields(size=setup.size, mean=baseline_loader.MEAN, std=baseline_loader.STD)
    feed = Feed(manifest, Reader(manifest), fields, pool=rows, budget=Budget(0))
    graph = PhotoGraph(batch=setup.batch, size=setup.size, augment=augment is not None)
    loader = Loader(graph, feed, device=setup.device, threads=setup.cores)
    for batch in loader.run(iterate_requests(rows, augment, batch=setup.batch)):
        _wait(setup.device)
        yield len(batch["row"])


def iterate_requests(rows: np.ndarray, augment: PhotoAugment | None, *, batch: int) -> Iterator[list[PhotoRequest]]:
    """Batches of shuffled rows, epoch after epoch."""
    rng, epoch, augments = np.random.default_rng(0), 0, () if augment is None else (augment,)
    while True:
        order = rng.permutation(rows)
        for first in range(0, len(order) - batch + 1, batch):
            slots = range(first, first + batch)
            yield request_photos(order[first : first + batch], augments=augments, seed=0, epoch=epoch, slots=slots)
        epoch += 1


def baseline_steps(*, setup: Setup, reader: str) -> Iterator[int]:
    """Photographs of each batch that the usual way delivers."""
    dataset = baseline_loader.Photographs(sorted(Path(setup.files).iterdir()), reader=reader, size=setup.size)
    for batch in baseline_loader.make_loader(dataset, batch=setup.batch, workers=setup.cores, pin=setup.device is not None):
        ready = batch if setup.device is None else batch.to(setup.device, non_blocking=True)
        _wait(setup.device)
        yield len(ready)


def _wait(device: int | None) -> None:
    if device is not None:
        torch.cuda.synchronize(device)  # a batch counts when it is there


BENCHMARK = LoaderBenchmark(prepare=prepare, takes=("shards", "size", "batch", "photos", "stages"))
