"""Fish: family, order, habitat, trophic level (and feeding path) from cached feature vectors.

N rows of the table, D features.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tarpon.models.groups import group_parameters
from tarpon.models.moe.mmoe import MMoE
from tarpon.models.moe.multihead import MultiHead
from tarpon.pipelines.feature import FeatureLoader
from tarpon.shards.features import FeatureTable, open_features
from tarpon.train.config import Run
from tarpon.train.engine import DistContext
from tarpon.train.plan_kind import order_mark
from tarpon.train.task import Problem
from tarpon.train.tasks.fish import export as fish_export
from tarpon.train.tasks.fish.annotations import compare_labels
from tarpon.train.tasks.fish.data import (
    attribute_names,
    feature_statistics,
    fish_data,
    output_widths,
    read_labels,
    read_train_facts,
    scored_splits,
)
from tarpon.train.tasks.fish.figures.split import draw_split
from tarpon.train.tasks.fish.losses import attribute_losses
from tarpon.train.tasks.fish.metrics.collect import AttributeMetric
from tarpon.train.tasks.fish.options import FishModel, FishOptions


def build(run: Run, options: FishOptions, context: DistContext, *, encoders: dict | None = None) -> Problem:
    """The problem on the features of `run.data`; `encoders` are those of the run that is gone on with or scored."""
    table = open_features(run.data)
    compared = (compare_labels(table, Path(options.annotations)),) if options.annotations and encoders is None else ()
    encoders = encoders or {name: list(names) for name, names in table.card["classes"].items()}
    labels, splits = read_labels(table, options, encoders), scored_splits(table)
    outputs, dim = output_widths(options, encoders), table.features.shape[1]
    torch.manual_seed(run.seed)  # the same weights on every rank and in every run
    model = build_model(options.model, dim, outputs, uncertainty=options.loss.uncertainty_weighting)
    if options.standardize:
        model.set_standardisation(*feature_statistics(table, table.split("train")))
    loader = FeatureLoader(table, labels, device=context.device)
    facts = read_train_facts(table, loader, outputs, loss=options.loss)
    names = attribute_names(options, encoders, labels=labels, train=table.split("train"))
    keys, groups = (np.array(table.labels[column].to_pylist()) for column in ("key", "group"))
    smoothing = options.loss.label_smoothing
    return Problem(
        model=model,
        inputs=("features",),
        groups=group_parameters(model, backbone=None),
        freeze=lambda on: None,
        loss=partial(attribute_losses, facts=facts, weights=options.task_weights(), smoothing=smoothing),
        data=fish_data(run, context, table=table, labels=labels, loader=loader, plan_kind=options.plan),
        splits=splits,
        metric=lambda _: AttributeMetric(
            names, keys=keys, groups=groups, joint=options.joint_taxa, place=context.rank, places=context.world
        ),
        figures=draw_split,
        select="composite",
        main=("acc_family", "balanced_acc_family", "acc_order", "auroc_habitat", "f1_habitat", "mae_troph"),
        count=lambda batch: len(batch["row"]),
        unit="rows",
        fingerprint=f"{table.fingerprint()}:{run.seed}:{run.global_batch}{order_mark(options.plan)}",
        sample=lambda: {"features": torch.zeros(run.micro_batch, dim)},
        keys=keys,
        encoders={**encoders, "family_order": names.family_order.tolist(), "train_images": names.train_images.tolist()},
        summary_lines=(*describe(table, options, model), *compared),
        export=partial(
            fish_export.export,
            run=run,
            options=options,
            encoders=encoders,
            family_order=names.family_order.tolist(),
            outputs=outputs,
            dim=dim,
            card=table.card,
        ),
    )


def build_model(options: FishModel, dim: int, outputs: Mapping[str, int], *, uncertainty: bool) -> MMoE | MultiHead:
    """The network for vectors of `dim` features and these tasks."""
    if options.architecture == "multihead":
        return MultiHead(
            dim, outputs, layers=options.layers, hidden=options.tower, dropout=options.dropout, uncertainty=uncertainty
        )
    return MMoE(
        dim,
        outputs,
        experts=options.experts,
        hidden=options.hidden,
        tower=options.tower,
        dropout=options.dropout,
        temperature=options.temperature,
        uncertainty=uncertainty,
    )


def describe(table: FeatureTable, options: FishOptions, model: nn.Module) -> tuple[str, ...]:
    """Lines on the table, the backbone that made it, and the network."""
    counts = ", ".join(f"{len(table.split(name))} {name}" for name in ("train", "val", "test"))
    known = np.isfinite(table.numbers("troph")).mean()
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    size = table.features.nbytes / 2**20
    return (
        f"data      {table.root}: {len(table)} rows of {table.features.shape[1]} features ({counts}), {size:.0f} MiB, "
        f"attributes known for {known:.1%}",
        f"features  {table.card.get('backbone') or 'imported, backbone not told'}, {table.features.dtype}",
        *((f"remark    {table.remark}",) if table.remark else ()),
        f"model     {options.model.architecture}, {millions:.1f} M parameters, tasks {', '.join(options.tasks)}",
    )
