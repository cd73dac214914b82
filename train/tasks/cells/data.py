"""The data of the cells task: pages and their labels. R rows of the manifest, B pages of a batch, W pages of the window
around each, C channels of a page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from tarpon.pipelines.fallback_rows import left_out
from tarpon.pipelines.loader import Batch, Loader
from tarpon.pipelines.page.feed import PageFields, PageRequest, request_pages
from tarpon.pipelines.page.graph import PageGraph
from tarpon.pipelines.page.stored import make_levels, make_neighbours
from tarpon.shards.by_shard import ByShard
from tarpon.shards.fetch_ahead import FetchAhead
from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import Manifest
from tarpon.shards.page_planes import count_channels
from tarpon.shards.reader import Reader
from tarpon.shards.sampling.plan import EpochPlan, Slots
from tarpon.shards.sampling.shard_plan import ShardPlan
from tarpon.train.config import Run
from tarpon.train.data import TaskData, decoding_loader
from tarpon.train.engine import DistContext
from tarpon.train.quarantine import Quarantine
from tarpon.train.tasks.cells.losses import target_hours
from tarpon.train.tasks.cells.metrics.predictions import PageNames
from tarpon.train.tasks.cells.options import CellsOptions

LABELS = ("label", "hours", "target")  # of a batch, fields of PageLabels
COLOURS = 3  # input channels of a network that pages of one channel are shown to


def count_inputs(channels: int) -> int:
    """Input channels of the network for pages of so many channels."""
    return channels if channels > 1 else COLOURS


@dataclass(frozen=True, kw_only=True, eq=False)
class PageLabels:
    """Labels of every row of the manifest."""

    label: np.ndarray  # (R,) int64, 1 infected
    hours: np.ndarray  # (R,) float32 on the clock
    target: np.ndarray  # (R,) float32 hours to learn


def page_labels(manifest: Manifest, options: CellsOptions) -> PageLabels:
    """Labels of every row, with the hours to learn under these options; a plate map's hour of infection goes before theirs."""
    label, hours = np.asarray(manifest.column("label"), np.int64), np.asarray(manifest.column("hours"), np.float32)
    onset = page_onsets(manifest, options)
    target = target_hours(hours, label == 1, onset=onset, clamp_range=options.clamp_range)
    return PageLabels(label=label, hours=hours, target=target)


def page_onsets(manifest: Manifest, options: CellsOptions) -> np.ndarray:
    """(R,) float32 hour of the clock at which the infection of every row begins: its well's own, where that is known."""
    if "onset_hour" not in manifest.table.column_names:
        return np.full(len(manifest), options.infection_onset_hour, np.float32)
    return onset_or_told(np.asarray(manifest.column("onset_hour"), np.float32), options)


def onset_or_told(told: np.ndarray, options: CellsOptions) -> np.ndarray:
    """(n,) float32 hours of infection: those that a plate map tells, and where it tells none (NaN) that of the options."""
    return np.where(np.isnan(told), np.float32(options.infection_onset_hour), told)


def page_names(manifest: Manifest) -> PageNames:
    """Path, key, stack, well, position and page number of every row."""
    words = {"path": "source"} | {name: name for name in ("key", "stack", "well", "position")}
    return PageNames(
        page=np.asarray(manifest.column("page"), np.int64),
        **{name: np.array(manifest.column(column)).astype(str) for name, column in words.items()},
    )


def cells_data(
    run: Run,
    options: CellsOptions,
    context: DistContext,
    *,
    manifest: Manifest | LazyManifest,
    rows: Mapping[str, Sequence[int]],
    order: EpochPlan | ShardPlan,
    labels: PageLabels | ByShard,
) -> TaskData:
    """Augmented windows of pages for training, windows as stored for a split.

    Args:
        rows: split -> its rows of the manifest, in order.
        labels: of every row; by shard: of LABELS, in that order.
    """
    window, channels = options.model.window, count_channels(manifest.card)
    reader = Reader(manifest, always=run.loader.verify_always)
    quarantine = Quarantine(run, context)
    neighbours = make_neighbours(manifest, window=window)

    def train_work(slots: Slots) -> list[PageRequest]:
        draw = {"augment": options.augment, "seed": run.seed, "epoch": slots.epoch, "slots": slots.slots, "channels": channels}
        return request_pages(*neighbours(slots.rows), **draw)

    def split_work(batch_rows: np.ndarray) -> list[PageRequest]:
        read, present = neighbours(batch_rows)
        return request_pages(read, present & (batch_rows >= 0)[:, None])

    def make_loader(training: bool) -> Loader:
        return decoding_loader(
            page_graph(run, options, manifest, training=training),
            page_fields(options, manifest, noise=training, gpu=context.gpu is not None),
            run=run,
            context=context,
            manifest=manifest,
            reader=reader,
            pool=rows["train"] if training else range(len(manifest)),
            quarantine=quarantine,
            substitute=training,
        )

    return TaskData(
        run=run,
        context=context,
        order=order,
        items=lambda split: np.asarray(rows[split]),
        train_work=train_work,
        split_work=split_work,
        make_loader=make_loader,
        quarantine=quarantine,
        ahead=FetchAhead([(manifest, reader)]),
        finish=make_finish(labels, window=window, device=context.device),
    )


def make_finish(labels: PageLabels | ByShard, *, window: int, device: torch.device) -> Callable[[Batch, str], Batch]:
    """What makes a loader's batch the model's: labels that are held lie on the device, others are looked up by row."""
    if isinstance(labels, ByShard):
        return partial(finish_stored, labels=labels, window=window, device=device)
    # copies: the table's own memory is read-only
    columns = {name: torch.tensor(getattr(labels, name), device=device) for name in LABELS}
    return partial(finish_pages, columns=columns, window=window, device=device)


def finish_stored(out: Batch, split: str, *, labels: ByShard, window: int, device: torch.device) -> Batch:
    """As `finish_pages`. labels: of LABELS."""
    asked = out["row"].view(-1, window)[:, window // 2].clamp(min=0).numpy()
    looked_up = zip(LABELS, labels.take(asked), strict=True)
    batch = finish_pages(out, split, columns={}, window=window, device=device)
    return batch | {name: torch.from_numpy(values).to(device, non_blocking=True) for name, values in looked_up}


def finish_pages(out: Batch, _split: str, *, columns: Mapping[str, torch.Tensor], window: int, device: torch.device) -> Batch:
    """A loader's batch of pages as the model's: clip (B, W, 3, S, S), valid (B, W), label, hours, target, row (B,).

    A page of one channel is shown three times, as to networks of colour pictures; one of several is a clip (B, W, C, S, S).

    columns: label, hours, target -> (R,) of every row, on the device.
    """
    pages = out["row"].view(-1, window).to(device, non_blocking=True)
    row = pages[:, window // 2]
    # a page without one of its neighbours is not the page that was asked for: it is left out too
    row = torch.where((pages <= left_out(0)).any(1) & (row >= 0), left_out(0) - row, row)
    clip = out["page"].unflatten(0, (-1, window))
    labels_of_rows = {name: values[row.clamp(min=0)] for name, values in columns.items()}
    return {"clip": clip, "valid": pages >= 0, **labels_of_rows, "row": row}


def page_graph(run: Run, options: CellsOptions, manifest: Manifest | LazyManifest, *, training: bool) -> PageGraph:
    """The pipeline of a batch's pages; stretched only where some are stored in another size."""
    size = options.model.backbone.image_size
    return PageGraph(
        size=size,
        channels=count_channels(manifest.card),
        resize={side for *kind, _ in manifest.count_kinds("width", "height") for side in kind} != {size},
        batch=run.micro_batch * options.model.window,
        mean=options.mean,
        std=options.std,
        augment=training,
        colours=COLOURS,
    )


def page_fields(options: CellsOptions, manifest: Manifest | LazyManifest, *, noise: bool, gpu: bool) -> PageFields:
    """How a stored page becomes one sample's arrays."""
    low, high = make_levels(manifest, options.contrast)
    return PageFields(
        low=low,
        high=high,
        size=options.model.backbone.image_size,
        noise_sd=options.augment.noise_sd if noise and options.augment.noise_p else 0.0,
        direct=not gpu,
    )
