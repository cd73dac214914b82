"""Cells: infected or not, and hours, from pages of time-lapse microscopy."""

from dataclasses import asdict
from functools import partial

import torch

from tarpon.models.groups import group_parameters
from tarpon.models.pages.reader import PageReader
from tarpon.pipelines.page.feed import warn_of_contrast
from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.page_planes import KEY
from tarpon.shards.sources.cells.channels import check_channels, list_channels
from tarpon.shards.sources.cells.schema import CLASSES
from tarpon.train.config import Run
from tarpon.train.engine import DistContext
from tarpon.train.plan_kind import open_data, order_mark
from tarpon.train.task import Problem
from tarpon.train.tasks.cells import export as cells_export
from tarpon.train.tasks.cells.data import cells_data, count_inputs
from tarpon.train.tasks.cells.figures.split import draw_split
from tarpon.train.tasks.cells.held_pages import HeldPages
from tarpon.train.tasks.cells.losses import hours_losses
from tarpon.train.tasks.cells.metrics.collect import PageMetric
from tarpon.train.tasks.cells.metrics.control import describe_onsets
from tarpon.train.tasks.cells.options import CellsOptions
from tarpon.train.tasks.cells.stored_pages import StoredPages


def build(run: Run, options: CellsOptions, context: DistContext, *, encoders: dict | None = None) -> Problem:
    """The problem on the shards of `run.data`.

    encoders: the classes, which are always the two, and the channels that weights were trained on, where they are known.

    Raises:
        ValueError: the shards hold other channels than those.
    """
    manifest = open_data(run.data, plan=options.plan, kind="cells", run=run)
    channels = list_channels(manifest.card, manifest.card.get("settings", {}))
    if encoders:
        check_channels(encoders.get(KEY, ("",)), channels, where=manifest.root)
    pages = (StoredPages if isinstance(manifest, LazyManifest) else HeldPages)(manifest, options)
    model = build_model(run, options, first_hours=pages.medians[0], channels=len(channels))
    order, labels = pages.order(run.seed), pages.labels
    data = cells_data(run, options, context, manifest=manifest, rows=pages.rows, order=order, labels=labels)
    return Problem(
        model=model,
        inputs=("clip", "valid"),
        # weight decay would shrink, without any gradient, a backbone that is to stand still
        groups={n: g for n, g in group_parameters(model).items() if options.model.train_backbone or n.startswith("rest/")},
        freeze=lambda on: model.freeze_backbone(on or not options.model.train_backbone),
        loss=partial(hours_losses, **asdict(options.loss)),
        data=data,
        splits=("val", "test") if len(pages.rows["test"]) else ("val",),
        metric=lambda split: PageMetric(
            pages.names,
            clamp_range=options.clamp_range,
            medians=pages.medians,
            onset=pages.onset(split),
            place=context.rank,
            places=context.world,
        ),
        figures=draw_split,
        select="combined",
        main=("auc", "f1", "mae"),
        count=lambda batch: len(batch["row"]),
        unit="pages",
        fingerprint=f"{manifest.fingerprint()}:{run.seed}:{run.global_batch}:{options.fold}{order_mark(options.plan)}",
        keys=pages.names.key,
        memory=data.quarantine.memory,
        remember=data.quarantine.remember,
        encoders={"classes": list(CLASSES)} | ({KEY: list(channels)} if any(channels) else {}),
        summary_lines=describe(pages, options, model),
        export=partial(
            cells_export.export, run=run, options=options, classes=CLASSES, packing=manifest.card.get("settings", {})
        ),
    )


def build_model(run: Run, options: CellsOptions, *, first_hours: float = 0.0, channels: int = 1) -> PageReader:
    """The network for pages of so many channels; the same weights on every rank and in every run of a seed."""
    torch.manual_seed(run.seed)
    model = options.model
    return PageReader(
        model.backbone.build(channels=count_inputs(channels)),
        hidden_dim=model.hidden_dim,
        dropout=model.dropout,
        condition_on_class=model.condition_on_class,
        detach_class=model.detach_class,
        window=model.window,
        tcn_hidden=model.tcn_hidden,
        first_hours=first_hours,
    )


def describe(pages: HeldPages | StoredPages, options: CellsOptions, model: PageReader) -> tuple[str, ...]:
    """Lines on the pages of each split and the network, with the shards' warnings."""
    manifest = pages.manifest
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    backbone = options.model.backbone
    weights = "pretrained" if backbone.pretrained or backbone.weights else "random weights"
    return (
        f"data      {manifest.root}: {pages.describe_splits()}; {manifest.card['quarantined']} in quarantine",
        *((f"remark    {manifest.remark}",) if manifest.remark else ()),
        *(f"warning   {line}" for line in (*manifest.card.get("warnings", ()), *warn_of_contrast(options.contrast))),
        *([f"channels  {', '.join(names)}: input channels of the network"] if (names := manifest.card.get(KEY)) else []),
        f"model     {backbone.name} at {backbone.image_size} px ({weights}), {millions:.1f} M parameters, "
        f"window of {options.model.window} page(s), {describe_onsets(pages.infected_onsets).removeprefix('the ')}",
        *pages.describe_onset(),
    )
