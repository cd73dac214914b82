"""The cells part of `tarpon bench loader`: pages of stacks, against tifffile and torchvision in a DataLoader.

Both deliver the training pages of the same shards, every page once an epoch, with the same kinds of variation.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
import torch
from scipy import ndimage

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.pack import Packing, pack
from tarpon.shards.page_planes import count_channels
from tarpon.shards.sampling.draws import PageAugment
from tarpon.shards.sources.cells import source
from tarpon.shards.sources.cells.config import read_config
from tarpon.shards.sources.cells.record import CELLS
from tarpon.tools.bench.loader import LoaderBenchmark
from tarpon.tools.bench.results import Comparison, Variant
from tarpon.tools.cells import baseline_loader
from tarpon.train.config import LoaderOptions, Run
from tarpon.train.engine import DistContext
from tarpon.train.tasks.cells.data import PageLabels, cells_data
from tarpon.train.tasks.cells.options import CellsModel, CellsOptions
from tarpon.train.tasks.cells.rows import training_order

TARPON, BASELINE = "tarpon", "tifffile + torchvision + DataLoader"
READY = "tarpon, pages packed at the size"
GREY, STILL = "the same, of one channel", "tarpon, nothing varied"
AIM = 4.0  # of tarpon over the baseline
NAME = "20251023bench_s5_{well}_p{position}_t0-{last}_ec.tiff"
MEDIUM_LEVEL, SHAPES, NOISE = 11000, 2500, 140  # grey levels: medium, sd of what is to be seen, sd of the camera's noise
COARSE = 6  # pixels: sd of the blur that makes shapes of noise
CONFIG = "data: {infected_dir: infected, uninfected_dir: uninfected}\n"
PLAIN = PageAugment(flip_p=0, angle=0, brightness_p=0, contrast_p=0, noise_p=0)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is delivered, and with what."""

    shards: str
    config: str  # YAML file with the folders they were packed from
    size: int  # pixels, both sides
    batch: int  # pages
    device: int | None  # GPU ordinal; None: CPU
    cores: int


@contextmanager
def prepare(
    *,
    device: int | None,
    cores: int,
    shards: str | None = None,
    config: str | None = None,
    size: int = 512,
    batch: int = 32,
    stacks: int = 8,
    pages: int = 30,
    side: int = 1024,
    stages: bool = False,
) -> Iterator[Comparison]:
    """What is to be timed; stacks are made up, and packed, unless shards are given with the file they were packed with."""
    if (shards is None) != (config is None):
        raise ValueError("give --shards and the --config they were packed with, or neither for stacks made up")
    with tempfile.TemporaryDirectory(prefix="tarpon-bench-") as folder:
        ready = None
        if shards is None:
            config, shards = write_stacks(Path(folder), stacks=stacks, pages=pages, side=side, workers=cores)
            ready = pack_stacks(Path(folder), to=Path(folder) / "ready", size=size, pages=pages, workers=cores)
        setup = Setup(shards=shards, config=config, size=size, batch=batch, device=device, cores=cores)
        locate_pages(open_manifest(shards, kind="cells"), setup)  # folders that do not belong to the shards are told
        ways = [(TARPON, setup, True)]
        ways += [(READY, replace(setup, shards=ready), True)] if ready else []
        ways += [(STILL, setup, False)] if stages else []
        yield Comparison(
            unit="pages",
            variants=(
                *(Variant(name=n, make=tarpon_steps, arguments={"setup": s, "augment": a}) for n, s, a in ways),
                Variant(name=BASELINE, make=baseline_steps, arguments={"setup": setup, "channels": 3}),
                Variant(name=GREY, make=baseline_steps, arguments={"setup": setup, "channels": 1}),
            ),
            ratios={
                "tarpon_over_baseline": (TARPON, BASELINE),
                "tarpon_over_grey_baseline": (TARPON, GREY),
                **({"ready_over_baseline": (READY, BASELINE)} if ready else {}),
            },
            verdict=describe_verdict,
        )


def describe_verdict(speed: dict[str, float]) -> str:
    lines = []
    for name in (TARPON, READY):
        if name in speed:
            ratio = speed[name] / speed[BASELINE]
            lines.append(f"{name}: {ratio:.1f} times the pages of the usual way, {'met' if ratio >= AIM else 'MISSED'}")
    return f"The aim is {AIM:g}. {'; '.join(lines)}."


def write_stacks(folder: Path, *, stacks: int, pages: int, side: int, workers: int) -> tuple[str, str]:
    """Write plain 16-bit stacks and pack them as they are, all for training; returns the configuration and the shards."""
    if stacks < 2:
        raise ValueError(f"stacks={stacks} must be 2 or more: one of each class")
    rng = np.random.default_rng(0)
    for number in range(stacks):
        name = NAME.format(well=f"{'cb'[number % 2]}2", position=number // 2 + 1, last=pages - 1)
        path = folder / ("uninfected", "infected")[number % 2] / name
        path.parent.mkdir(exist_ok=True)
        shapes = ndimage.gaussian_filter(rng.standard_normal((side, side), np.float32), COARSE)
        still = MEDIUM_LEVEL + SHAPES * shapes / shapes.std()
        with tifffile.TiffWriter(path) as file:
            for _ in range(pages):
                page = still + NOISE * rng.standard_normal((side, side), np.float32)
                file.write(page.clip(0, 65535).astype(np.uint16), photometric="minisblack", metadata=None, contiguous=False)
    (folder / "cells.yaml").write_text(CONFIG)
    return str(folder / "cells.yaml"), pack_stacks(folder, to=folder / "shards", size=0, pages=pages, workers=workers)


def pack_stacks(folder: Path, *, to: Path, size: int, pages: int, workers: int) -> str:
    """Pack the stacks of `write_stacks`, all for training; size: pixels that pages are stretched to, 0: as they are."""
    options = source.CellsSource(side=size)
    packing = Packing(out=to, split=(1, 0, 0), workers=workers, shard_size=2 * pages)
    found = CELLS.scan(folder / "infected", folder / "uninfected", options)
    pack(CELLS, found, options=options, packing=packing, progress=False)
    return str(to)


def locate_pages(manifest: Manifest, setup: Setup) -> list[baseline_loader.Page]:
    """The training pages as places in the source stacks; ValueError when those are other folders."""
    settings = read_config(Path(setup.config))
    if count_channels(manifest.card) > 1:
        raise ValueError(f"{setup.shards}: pages of several channels; the usual way is of one, so give shards of one")
    folders = {"infected": settings.infected_dir, "uninfected": settings.uninfected_dir}
    rows = manifest.rows("train")
    if not len(rows):
        raise ValueError(f"{setup.shards}: the train split is empty; nothing to load")
    found = []
    for row in rows.tolist():
        kind, _, name = str(manifest.value(row, "source")).partition("/")
        found.append(
            baseline_loader.Page(
                stack=folders[kind] / name,
                page=manifest.value(row, "page"),
                label=manifest.value(row, "label"),
                hours=manifest.value(row, "hours"),
            )
        )
    missing = next((page.stack for page in found if not page.stack.is_file()), None)
    if missing:
        raise ValueError(f"{missing} is in {setup.shards} but not there; give the --config that was packed")
    return found


def tarpon_steps(*, setup: Setup, augment: bool) -> Iterator[int]:
    """Pages of each batch that Tarpon's loader delivers, as the cells task trains on them."""
    manifest = open_manifest(setup.shards, kind="cells")
    device = torch.device("cpu") if setup.device is None else torch.device("cuda", setup.device)
    backbone = FrameBackbone(name="resnet50", pretrained=False, image_size=setup.size)
    options = CellsOptions(model=CellsModel(backbone=backbone), augment=PageAugment() if augment else PLAIN)
    threads = LoaderOptions(threads=setup.cores)
    run = Run(data=setup.shards, micro_batch=setup.batch, global_batch=setup.batch, loader=threads)
    rows, labels = manifest.rows("train"), np.asarray(manifest.column("label"), np.int64)
    clock = np.asarray(manifest.column("hours"), np.float32)
    context = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=device)
    data = cells_data(
        run,
        options,
        context,
        manifest=manifest,
        rows={"train": rows},
        order=training_order(manifest, rows, labels, options, seed=0),
        labels=PageLabels(label=labels, hours=clock, target=clock),
    )
    for batch in data.batches(0, 0):  # too few pages for a batch are told
        if not batch["clip"].stride(2):
            batch["clip"].contiguous()  # the three channels, which a GPU's loader only points at
        _wait(setup.device)
        yield len(batch["row"])


def baseline_steps(*, setup: Setup, channels: int) -> Iterator[int]:
    """Pages of each batch that the usual way delivers."""
    pages = locate_pages(open_manifest(setup.shards, kind="cells"), setup)
    options = CellsOptions()
    dataset = baseline_loader.StackPages(pages, size=setup.size, mean=options.mean, std=options.std, channels=channels)
    on_gpu = setup.device is not None
    for batch in baseline_loader.make_loader(dataset, batch=setup.batch, workers=setup.cores, pin=on_gpu):
        if on_gpu:
            batch = [value.to(setup.device, non_blocking=True) for value in batch]
        batch[0].expand(-1, 3, -1, -1).contiguous()
        _wait(setup.device)
        yield len(batch[0])


def _wait(device: int | None) -> None:
    if device is not None:
        torch.cuda.synchronize(device)  # a batch counts when it is there


BENCHMARK = LoaderBenchmark(prepare=prepare, takes=("shards", "config", "size", "batch", "stacks", "pages", "side", "stages"))
