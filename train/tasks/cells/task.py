"""Cells: infected or not, and hours, from pages of time-lapse microscopy.

R rows (pages) of the manifest, B pages of a batch, W pages of the time window around each.
"""

from dataclasses import asdict
from functools import partial

import numpy as np
import torch

from tarpon.models.groups import group_parameters
from tarpon.models.pages.reader import PageReader
from tarpon.pipelines.page.feed import warn_of_contrast
from tarpon.shards.manifest import Manifest, open_manifest
from tarpon.shards.page_planes import KEY
from tarpon.shards.sources.cells.channels import check_channels, list_channels
from tarpon.shards.sources.cells.schema import CLASSES
from tarpon.train.config import Run
from tarpon.train.engine import DistContext
from tarpon.train.task import Problem
from tarpon.train.tasks.cells import export as cells_export
from tarpon.train.tasks.cells.data import cells_data, count_inputs, page_labels, page_names, page_onsets
from tarpon.train.tasks.cells.figures.split import draw_split
from tarpon.train.tasks.cells.losses import hours_losses
from tarpon.train.tasks.cells.metrics.collect import PageMetric, target_medians
from tarpon.train.tasks.cells.metrics.control import describe_onsets
from tarpon.train.tasks.cells.options import CellsOptions
from tarpon.train.tasks.cells.rows import describe_onset, select_rows, training_order


def build(run: Run, options: CellsOptions, context: DistContext, *, encoders: dict | None = None) -> Problem:
    """The problem on the shards of `run.data`.

    encoders: the classes, which are always the two, and the channels that weights were trained on, where they are known.

    Raises:
        ValueError: the shards hold other channels than those.
    """
    manifest = open_manifest(run.data, kind="cells", cache=run.loader.tar_cache())
    channels = list_channels(manifest.card, manifest.card.get("settings", {}))
    if encoders:
        check_channels(encoders.get(KEY, ("",)), channels, where=manifest.root)
    labels = page_labels(manifest, options)
    rows = select_rows(manifest, options)
    medians = target_medians(labels.target[rows["train"]], labels.label[rows["train"]])
    model = build_model(run, options, first_hours=medians[0], channels=len(channels))
    order = training_order(manifest, rows["train"], labels.label, options, seed=run.seed)
    data = cells_data(run, options, context, manifest=manifest, rows=rows, order=order, labels=labels)
    names = page_names(manifest)
    return Problem(
        model=model,
        inputs=("clip", "valid"),
        # weight decay would shrink, without any gradient, a backbone that is to stand still
        groups={n: g for n, g in group_parameters(model).items() if options.model.train_backbone or n.startswith("rest/")},
        freeze=lambda on: model.freeze_backbone(on or not options.model.train_backbone),
        loss=partial(hours_losses, **asdict(options.loss)),
        data=data,
        splits=("val", "test") if len(rows["test"]) else ("val",),
        metric=lambda _: PageMetric(
            names, clamp_range=options.clamp_range, medians=medians, onset=page_onsets(manifest, options)
        ),
        figures=draw_split,
        select="combined",
        main=("auc", "f1", "mae"),
        count=lambda batch: len(batch["row"]),
        unit="pages",
        fingerprint=f"{manifest.fingerprint()}:{run.seed}:{run.global_batch}:{options.fold}",
        keys=names.key,
        memory=data.quarantine.memory,
        remember=data.quarantine.remember,
        encoders={"classes": list(CLASSES)} | ({KEY: list(channels)} if any(channels) else {}),
        summary_lines=describe(manifest, rows, labels.label, options, model),
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


def describe(
    manifest: Manifest, rows: dict[str, np.ndarray], labels: np.ndarray, options: CellsOptions, model: PageReader
) -> tuple[str, ...]:
    """Lines on the pages of each split and the network, with the shards' warnings.

    Args:
        rows: split -> rows of the manifest. labels: (R,) int64, 1 infected.
    """
    stacks = np.array(manifest.column("stack"))
    counts = "; ".join(
        f"{name} {len(own)} pages of {len(set(stacks[own]))} stacks, {labels[own].mean() if len(own) else 0:.0%} infected"
        for name, own in rows.items()
    )
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    backbone, onset = options.model.backbone, page_onsets(manifest, options)
    weights = "pretrained" if backbone.pretrained or backbone.weights else "random weights"
    return (
        f"data      {manifest.root}: {counts}; {manifest.card['quarantined']} in quarantine",
        *((f"remark    {manifest.remark}",) if manifest.remark else ()),
        *(f"warning   {line}" for line in (*manifest.card.get("warnings", ()), *warn_of_contrast(options.contrast))),
        *([f"channels  {', '.join(names)}: input channels of the network"] if (names := manifest.card.get(KEY)) else []),
        f"model     {backbone.name} at {backbone.image_size} px ({weights}), {millions:.1f} M parameters, "
        f"window of {options.model.window} page(s), {describe_onsets(onset[labels == 1]).removeprefix('the ')}",
        *describe_onset(manifest, rows["train"], labels, onset=onset),
    )
