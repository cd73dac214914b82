"""The mouse part of `tarpon bench loader`: frames of clips, against OpenCV and NumPy in a DataLoader, and decoding alone.

All variants deliver the same windows of the same trials with the same draws.
"""

import importlib.util
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import torch

from tarpon.pipelines.clip.checks import check_clips
from tarpon.pipelines.clip.feed import ClipFields, ClipRequest, TrainWindows
from tarpon.pipelines.clip.graph import ClipGraph
from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Loader
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader
from tarpon.shards.sampling.draws import ClipAugment
from tarpon.shards.sampling.plan import EpochPlan
from tarpon.shards.sources.mouse import source
from tarpon.tools.bench.loader import LoaderBenchmark
from tarpon.tools.bench.results import Comparison, Variant
from tarpon.tools.mouse import baseline_loader

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB
CUTS = 512  # windows the baseline goes round in; Tarpon draws new ones all the time
AUGMENT = ClipAugment()
TARPON, BASELINE, DECODE = "tarpon", "opencv + numpy + DataLoader", "dali decode alone"
STAGES = {  # name -> graph switches: what each further stage costs; where clips have the size, the first resizes nothing
    "dali decode, resized if need be": {"noise": False, "normalise": False},
    "the same, normalised": {"noise": False},
}
ALONE = {"resize": False, "noise": False, "normalise": False}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is delivered, and with what."""

    shards: str
    videos: str
    annotations: str
    size: int  # pixels, both sides
    window: int  # frames
    batch: int  # clips
    device: int | None  # GPU ordinal; None: CPU
    cores: int


@contextmanager
def prepare(
    *,
    shards: str,
    videos: str,
    annotations: str,
    device: int | None,
    cores: int,
    size: int = 224,
    window: int = 180,
    batch: int = 2,
    stages: bool = False,
) -> Iterator[Comparison]:
    """What is to be timed. ValueError for what cannot be compared, before anything is timed."""
    if importlib.util.find_spec("cv2") is None:
        raise ValueError("the baseline needs OpenCV: pip install 'tarpon[bench]'")
    setup = Setup(
        shards=shards,
        videos=videos,
        annotations=annotations,
        size=size,
        window=window,
        batch=batch,
        device=device,
        cores=cores,
    )
    manifest = open_manifest(shards, kind="mouse")
    check_clips(manifest, device=device)
    list_cuts(setup, amount=1)  # folders that do not belong to the shards are told
    resized = needs_resize(manifest, find_usable_rows(manifest), size=size)
    graphs = {**(STAGES if stages else {}), DECODE: ALONE}
    yield Comparison(
        unit="frames",
        variants=(
            Variant(name=TARPON, make=dali_steps, arguments={"setup": setup, "switches": {}}),
            Variant(name=BASELINE, make=baseline_steps, arguments={"setup": setup}),
            *(Variant(name=n, make=dali_steps, arguments={"setup": setup, "switches": s}) for n, s in graphs.items()),
        ),
        ratios={"tarpon_over_baseline": (TARPON, BASELINE), "tarpon_over_decode": (TARPON, DECODE)},
        verdict=lambda speed: describe_verdict(speed, resizes=resized),
    )


def describe_verdict(speed: dict[str, float], *, resizes: bool) -> str:
    """What takes the time, in one sentence: seconds a frame add up over the stages."""
    share = min(speed[TARPON] / speed[DECODE], 1.0)
    ratio = speed[TARPON] / speed[BASELINE]
    text = f"Tarpon delivers {ratio:.1f} times the frames of the usual way; "
    if share >= 0.5:
        return text + f"decoding binds, with {share:.0%} of its time a frame: fewer pixels (--short_side) make it quicker."
    if resizes:
        return text + (
            f"resizing, noise and normalising bind, with {1 - share:.0%} of its time a frame: packing at the "
            f"model's size (--short_side) saves the resizing."
        )
    return text + f"noise and normalising bind, with {1 - share:.0%} of its time a frame."


def find_usable_rows(manifest: Manifest) -> np.ndarray:
    """Training rows that have actions, of the commonest stored size: bare decoding can only batch frames of one size."""
    rows = manifest.rows("train")
    sizes = list(zip(*(manifest.column(name)[rows].tolist() for name in ("clip_width", "clip_height")), strict=True))
    if not sizes:
        raise ValueError(f"{manifest.root}: the train split is empty; nothing to load")
    commonest = Counter(sizes).most_common(1)[0][0]
    labelled = np.array([sum(histogram) > 0 for histogram in manifest.table["histogram"].take(rows).to_pylist()])
    rows = rows[labelled & np.array([size == commonest for size in sizes])]
    if not len(rows):
        raise ValueError(f"{manifest.root}: no labelled trial of {commonest[0]} x {commonest[1]} pixels in the train split")
    return rows


def needs_resize(manifest: Manifest, rows: np.ndarray, *, size: int) -> bool:
    """Whether the usable rows, all of one size, have another size than is delivered."""
    return {int(manifest.value(rows[0], name)) for name in ("clip_width", "clip_height")} != {size}


def iterate_windows(manifest: Manifest, rows: np.ndarray, setup: Setup) -> Iterator[list[ClipRequest]]:
    """Endless batches of training windows, drawn as in training."""
    draw = TrainWindows(
        manifest=manifest,
        augment=AUGMENT,
        frames=setup.window,
        points=_points(manifest),
        seed=0,
        merge=tuple(range(len(manifest.card["classes"]))),
    )
    plan = EpochPlan(rows=rows, shards=manifest.tar_numbers(rows), seed=0)
    for epoch in count():
        for slots in plan.batches(epoch, micro=setup.batch, rank=0, world=1):
            yield draw(slots)


def _points(manifest: Manifest) -> int:
    return len(manifest.card["settings"]["keypoints"])


def dali_steps(*, setup: Setup, switches: dict[str, bool]) -> Iterator[int]:
    """Frames of each batch that Tarpon's loader delivers; `switches` turn stages of the graph off."""
    manifest = open_manifest(setup.shards)
    rows = find_usable_rows(manifest)
    graph = ClipGraph(
        size=setup.size, batch=setup.batch, **{"resize": needs_resize(manifest, rows, size=setup.size), **switches}
    )
    points = _points(manifest)
    fields = ClipFields(
        frames=setup.window,
        size=setup.size,
        mean=MEAN,
        std=STD,
        likelihood=0.9,
        merge=tuple(range(len(manifest.card["classes"]))),
        swap=tuple(range(points)),
        noise_sd=AUGMENT.noise_sd if graph.noise else 0.0,
    )
    feed = Feed(manifest, Reader(manifest), fields, pool=rows, budget=Budget(0))
    warnings.filterwarnings("ignore", message="The external source node")  # a stage turned off leaves its inputs unused
    loader = Loader(graph, feed, device=setup.device, threads=setup.cores)
    for batch in loader.run(iterate_windows(manifest, rows, setup)):
        _wait(setup.device)
        yield batch["clip"].shape[0] * batch["clip"].shape[1]


def baseline_steps(*, setup: Setup) -> Iterator[int]:
    """Frames of each batch that the usual way delivers."""
    dataset = baseline_loader.VideoWindows(
        list_cuts(setup, amount=CUTS), frames=setup.window, size=setup.size, mean=MEAN, std=STD, noise_sd=AUGMENT.noise_sd
    )
    on_gpu = setup.device is not None
    for clip, actions in baseline_loader.make_loader(dataset, batch=setup.batch, workers=setup.cores, pin=on_gpu):
        if on_gpu:
            clip, actions = clip.to(setup.device, non_blocking=True), actions.to(setup.device, non_blocking=True)
        _wait(setup.device)
        yield clip.shape[0] * clip.shape[1]


def _wait(device: int | None) -> None:
    if device is not None:
        torch.cuda.synchronize(device)  # a batch counts when it is there


def list_cuts(setup: Setup, *, amount: int) -> list[baseline_loader.Cut]:
    """The first windows that Tarpon delivers, as places in the source videos; ValueError when those are other folders."""
    manifest = open_manifest(setup.shards, kind="mouse")
    settings = manifest.card["settings"]
    options = source.MouseSource(
        pose="none", keypoints=tuple(settings["keypoints"]), trial_frames=settings["trial_frames"], offset=settings["offset"]
    )
    units, _ = source.scan(Path(setup.videos), Path(setup.annotations), options)
    files = {(unit.name(), entry.trial): (entry, unit.counting) for unit in units for entry in unit.trials}
    batches = iterate_windows(manifest, find_usable_rows(manifest), setup)
    labels: dict[int, source.Labels] = {}
    result = []
    for window in islice(chain.from_iterable(batches), amount):
        row = manifest.table.slice(window.row, 1).to_pylist()[0]
        if window.row not in labels:
            labels[window.row] = _labels(files, row, options=options, setup=setup)
        found = labels[window.row]
        result.append(
            baseline_loader.Cut(
                video=Path(setup.videos) / row["source"],
                first=found.first,
                trial=row["frames"],
                start=window.start,
                actions=found.actions.astype(np.int64),
                draw=replace(window.draw, jitter=None),
            )
        )
    return result


def _labels(files: dict[tuple[str, int], tuple], row: dict, *, options: source.MouseSource, setup: Setup) -> source.Labels:
    key = (row["source"], row["trial"])
    if key not in files:
        raise ValueError(
            f"{row['source']} trial {row['trial']} is in {setup.shards} but not in {setup.videos} and "
            f"{setup.annotations}; give the folders that were packed"
        )
    entry, proven = files[key]
    (labels,) = source.read_trials(entry, options, video=row["source"], fps=row["fps"], frames=lambda: 0, proven=proven)
    if labels.first != row["first_frame"] or labels.actions.tolist() != row["actions"]:
        raise ValueError(f"{entry.path} is not what {setup.shards} was packed from; give the folders that were packed")
    return labels


BENCHMARK = LoaderBenchmark(
    prepare=prepare,
    takes=("shards", "videos", "annotations", "size", "window", "batch", "stages"),
    needs=("shards", "videos", "annotations"),
)
